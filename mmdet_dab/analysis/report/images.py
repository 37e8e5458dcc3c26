"""Images of a report: from their folder, as a detector gets them, and as many as are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from mmdet_dab.analysis.report.tiles import Loader
from mmdet_dab.console import say
from mmdet_dab.data.images import load_image, read_header
from mmdet_dab.errors import DataError, listed, plural

#: Images that are kept in memory: cases of one image follow one another.
KEPT = 4


def folder_loader(folder: Path | None, images: Sequence[dict[str, Any]]) -> Loader | None:
    """A loader of the images of a folder; None, and a warning, where not one of them is there.

    Args:
        folder: of the image files; None: there is none, which needs no warning.
        images: COCO's, with ``file_name``.
    """
    if folder is None:
        return None
    missing = [image['file_name'] for image in images if read_header(folder / image['file_name']).problem]
    if len(missing) == len(images):
        say(
            f'warning: {folder}: no image of the annotations can be read there, such as {missing[0]}. The report has '
            'no galleries; name the folder of the images.'
        )
        return None
    if missing:
        say(
            f'warning: {folder}: {plural(len(missing), "image")} cannot be read ({listed(missing, 3)}). '
            'The galleries do without them.'
        )

    @lru_cache(maxsize=KEPT)
    def load(row: int) -> Image.Image | None:
        path = folder / images[row]['file_name']
        try:
            return load_image(path)
        except DataError as error:
            say(f'warning: {error} The galleries do without it.')
            return None

    return load


def size_reader(folder: Path | None) -> Callable[[str], tuple[int, int] | None]:
    """Gives width and height of an image by its file name, None where it is not there."""

    def size_of(name: str) -> tuple[int, int] | None:
        header = None if folder is None else read_header(folder / name)
        return None if header is None or header.problem else header.loaded_size

    return size_of
