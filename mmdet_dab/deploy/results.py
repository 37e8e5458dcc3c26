"""What is written of detections: JSON, CSV, results of COCO, and images and videos with boxes.

A writer gets image by image, so that a long video fills no memory.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from mmdet_dab.deploy.detections import Detections
from mmdet_dab.deploy.draw import draw, for_screen, write_image
from mmdet_dab.deploy.video import VideoWriter
from mmdet_dab.errors import UserError
from mmdet_dab.media_files import IMAGE_ENDINGS


@dataclass(frozen=True)
class Item:
    """An image, or a frame of a video.

    Attributes:
        name: of its file, relative to the output folder.
        image: (H, W, 3) uint8 BGR.
        frame: its number in the video, from 0 on; None for an image.
        frames_per_second: of the video.
    """

    name: Path
    image: np.ndarray
    frame: int | None = None
    frames_per_second: float = 0.0

    @property
    def place(self) -> dict[str, Any]:
        """Where a frame is in its video, as JSON has it; empty for an image."""
        if self.frame is None:
            return {}
        return {'frame': self.frame, 'seconds': round(self.frame / self.frames_per_second, 3)}


class Writer(Protocol):
    """Writes what was found, image by image.

    Attributes:
        path: file or folder that it writes.
    """

    path: Path

    def add(self, item: Item, found: Detections) -> None:
        """Write one image."""

    def close(self) -> None:
        """Complete what was written."""


class JsonList:
    """One list: file, size, and boxes x1 y1 x2 y2 in pixels.

    Args:
        folder: to write to.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.path = folder / 'detections.json'
        self.file = self.path.open('w', encoding='utf-8')
        self.separator = '[\n'

    def add(self, item: Item, found: Detections) -> None:
        """See :class:`Writer`."""
        height, width = item.image.shape[:2]
        row = {'file': item.name.as_posix(), **item.place, 'height': height, 'width': width, **as_json(found)}
        self.file.write(self.separator + json.dumps(row))
        self.separator = ',\n'

    def close(self) -> None:
        """See :class:`Writer`."""
        self.file.write('[]\n' if self.separator == '[\n' else '\n]\n')
        self.file.close()


def as_json(found: Detections) -> dict[str, Any]:
    """Detections in numbers and names of JSON."""
    return {
        'boxes': found.boxes.astype(float).round(2).tolist(),
        'scores': found.scores.astype(float).round(6).tolist(),
        'labels': found.labels.tolist(),
        'names': list(found.names),
    }


class CsvTable:
    """A line for every box; ``frame`` is empty for images.

    Args:
        folder: to write to.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.path = folder / 'detections.csv'
        # Names of files may be bytes that are no text.
        self.file = self.path.open('w', newline='', encoding='utf-8', errors='backslashreplace')
        self.writer = csv.writer(self.file)
        self.writer.writerow(['file', 'frame', 'name', 'label', 'score', 'x1', 'y1', 'x2', 'y2'])

    def add(self, item: Item, found: Detections) -> None:
        """See :class:`Writer`."""
        frame = '' if item.frame is None else item.frame
        for box, score, label, name in zip(found.boxes, found.scores, found.labels, found.names, strict=True):
            numbers = [int(label), f'{score:.6f}', *(f'{part:.2f}' for part in box)]
            self.writer.writerow([item.name.as_posix(), frame, name, *numbers])

    def close(self) -> None:
        """See :class:`Writer`."""
        self.file.close()


class CocoResults:
    """Results as COCO has them, and beside them the list of images and classes that they refer to.

    ``COCO('images.coco.json').loadRes('detections.coco.json')`` reads both. Images and classes are
    numbered from 1 on.

    Args:
        folder: to write to.
        classes: names, by label.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.path = folder / 'detections.coco.json'
        self.file = self.path.open('w', encoding='utf-8')
        self.separator = '[\n'
        self.categories = [{'id': label, 'name': name} for label, name in enumerate(classes, start=1)]
        self.images: list[dict[str, Any]] = []

    def add(self, item: Item, found: Detections) -> None:
        """See :class:`Writer`."""
        height, width = item.image.shape[:2]
        number, name = len(self.images) + 1, item.name.as_posix()
        self.images.append({'id': number, 'file_name': name, **item.place, 'height': height, 'width': width})
        boxes = np.concatenate((found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]), axis=1)
        for box, score, label in zip(boxes, found.scores, found.labels, strict=True):
            row = {
                'image_id': number,
                'category_id': int(label) + 1,
                'bbox': box.astype(float).round(2).tolist(),
                'score': round(float(score), 6),
            }
            self.file.write(self.separator + json.dumps(row))
            self.separator = ',\n'

    def close(self) -> None:
        """See :class:`Writer`."""
        self.file.write('[]\n' if self.separator == '[\n' else '\n]\n')
        self.file.close()
        content = {'images': self.images, 'annotations': [], 'categories': self.categories}
        self.path.with_name('images.coco.json').write_text(json.dumps(content), encoding='utf-8')


#: By the word of ``--format``.
FORMATS: Mapping[str, Any] = MappingProxyType({'json': JsonList, 'csv': CsvTable, 'coco': CocoResults})


class JsonFiles:
    """A file for every image, and one with a list of frames for every video.

    The JSON of ``a.png`` is ``a.json``, or ``a.png.json`` where there is an ``a.jpg`` too.

    Args:
        folder: to write to.
        names: of all images and videos.
    """

    def __init__(self, folder: Path, names: Sequence[Path]) -> None:
        self.path = folder
        folder.mkdir(parents=True, exist_ok=True)
        stems = Counter(name.with_suffix('') for name in names)
        self.shared = {stem for stem, count in stems.items() if count > 1}
        self.frames: list[dict[str, Any]] = []
        self.video: Path | None = None

    def add(self, item: Item, found: Detections) -> None:
        """See :class:`Writer`."""
        values = as_json(found)
        row = {**item.place, 'names': values['names'], 'labels': found.labels.tolist()}
        row |= {'scores': values['scores'], 'bboxes': values['boxes']}
        if self.video != (item.name if item.frame is not None else None):
            self.close()
        if item.frame is None:
            self.write(item.name, row)
        else:
            self.video = item.name
            self.frames.append(row)

    def write(self, name: Path, content: Any) -> None:
        """Write the JSON of one file."""
        stem = name.with_suffix('')
        file = self.path / (f'{name}.json' if stem in self.shared else f'{stem}.json')
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding='utf-8')

    def close(self) -> None:
        """See :class:`Writer`."""
        if self.video is not None:
            self.write(self.video, self.frames)
        self.video, self.frames = None, []


class Drawn:
    """Images and videos with their boxes.

    A small image is enlarged, so that labels can be read, and a huge one reduced.

    Args:
        folder: to write to; names are kept, and a video becomes an ``.mp4``.
        palette: (r, g, b) of each class.
        threshold: lowest score that is drawn.
        codec: of videos.
    """

    def __init__(self, folder: Path, palette: Sequence[Sequence[int]], threshold: float, codec: str) -> None:
        self.path, self.palette, self.threshold, self.codec = folder, palette, threshold, codec
        self.video: VideoWriter | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, item: Item, found: Detections) -> None:
        """See :class:`Writer`."""
        image = draw(*for_screen(item.image, found.above(self.threshold)), self.palette)
        if item.frame is None:
            self.close()
            known = item.name.suffix.lower() in IMAGE_ENDINGS
            write_image(self.path / (item.name if known else f'{item.name}.png'), image)
            return
        path = self.path / (item.name if item.name.suffix == '.mp4' else f'{item.name}.mp4')
        if self.video is None or self.video.path != path:
            self.close()
            self.video = VideoWriter(path, self.codec, item.frames_per_second)
        self.video.add(image)

    def close(self) -> None:
        """See :class:`Writer`."""
        video, self.video = self.video, None
        if video is not None:
            video.close()


def make_folder(path: Path) -> None:
    """Create the output folder.

    Raises:
        UserError: it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / '.try').touch()
        (path / '.try').unlink()
    except OSError as error:
        raise UserError(f'{path}: cannot be written to ({error.strerror}). Name another folder.') from error
