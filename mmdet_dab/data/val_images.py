"""Where validation images lie, when only their annotations are named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmdet_dab.data.coco import read_coco
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.voc import annotation_files
from mmdet_dab.data.yolo import label_files

#: Annotation files, or entries of one, that are held against the images of a folder.
TRIED = 200
#: Larger files of COCO, in bytes, are not read for that.
LARGEST = 100_000_000


def find_val_images(images: Path, annotations: Path, val: Path, kind: str) -> Path:
    """The folder that holds the images of the validation annotations.

    Args:
        images, annotations: of the training.
        val: the validation annotations.
        kind: their format.

    Returns:
        of the folders that the place of ``val`` suggests, and ``images``, the one in which most of
        the annotations find an image; the first of several.
    """
    names = _image_names(val, kind)
    best, most = images, 0
    for folder in _candidates(images, annotations, val):
        found = ImageFolder(folder)
        number = sum(name in found.files if kind == 'coco' else bool(found.find(name)) for name in names)
        if number > most:
            best, most = folder, number
    return best


def _image_names(val: Path, kind: str) -> list[str]:
    if kind == 'coco':
        small = val.is_file() and val.stat().st_size <= LARGEST
        return [image['file_name'] for image in read_coco(val).images[:TRIED]] if small else []
    files = (annotation_files if kind == 'voc' else label_files)(val) if val.is_dir() else []
    return [path.stem for path in files[:TRIED]]


def _candidates(images: Path, annotations: Path, val: Path) -> Iterator[Path]:
    """By name (labels/val -> images/val), by path, folders of that name, beside, and shared."""
    own, other = (Path(os.path.abspath(path)) for path in (annotations, val))
    changed = {a: b for a, b in zip(own.parts, other.parts, strict=False) if a != b}
    if own.is_file():
        changed |= {own.stem: other.stem}
    whole = Path(os.path.abspath(images))
    found = [Path(*(changed.get(part, part) for part in whole.parts))]
    found.append(Path(os.path.abspath(other / os.path.relpath(whole, own))))
    found += [other.parent / other.stem, whole.parent / other.stem]
    found.append(other if other.is_dir() else other.parent)
    for folder in found:
        if folder.is_dir() and folder != whole:
            yield folder if images.is_absolute() else Path(os.path.relpath(folder))
    yield images
