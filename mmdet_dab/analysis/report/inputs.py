"""What a report is made of: ground truth, and detections from a result file of COCO's kind."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_dab.data.annotations import Annotations, is_box
from mmdet_dab.data.coco import complete, read_coco
from mmdet_dab.data.files import decode, read_bytes
from mmdet_dab.errors import DataError, listed, plural

#: What each detection of a result file must have.
NEEDED = ('image_id', 'category_id', 'bbox', 'score')


@dataclass(frozen=True)
class Detections:
    """Boxes that a detector found.

    Attributes:
        image: (N,) int, row in ``images`` of the annotations.
        category: (N,) int, row in their ``categories``.
        boxes: (N, 4) float64, x y w h in pixels.
        scores: (N,) float64, 0 to 1.
    """

    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class GroundTruth:
    """Annotations that can be evaluated on, and the ids that result files name them by.

    Attributes:
        data: complete, with boxes that are numbers.
        image_rows, category_rows: from the ids in the file to rows.
        objects: (G,) int, the rows in ``data.objects`` that are to be found: all but crowds, as in
            COCO's evaluation.
    """

    data: Annotations
    image_rows: Mapping[Hashable, int]
    category_rows: Mapping[Hashable, int]
    objects: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return self.data.names()

    @property
    def category(self) -> np.ndarray:
        """(G,) int, the class of each object."""
        return self.data.category_index[self.objects]

    @property
    def image(self) -> np.ndarray:
        """(G,) int, the image of each object."""
        return self.data.image_index[self.objects]

    @property
    def boxes(self) -> np.ndarray:
        """(G, 4) float64, x y w h in pixels."""
        return self.data.boxes[self.objects]

    @property
    def counts(self) -> np.ndarray:
        """(K,) int, objects of each class."""
        return np.bincount(self.category, minlength=len(self.data.categories))


def read_ground_truth(
    path: Path, size_of: Callable[[str], tuple[int, int] | None], classes: Sequence[str] | None = None
) -> GroundTruth:
    """Read an annotation file of COCO's kind, and complete what it lacks.

    Args:
        path: the file.
        size_of: gives width and height of an image by its ``file_name``, None if it cannot.
        classes: those that were looked for; None: all.

    Raises:
        DataError: it cannot be read, or has no object of the classes.
    """
    read = read_coco(path)
    whole = complete(read, size_of)
    data = whole if classes is None else _restricted(whole, classes)
    images = {before['id']: row for row, before in enumerate(read.images)}
    rows = {category['id']: row for row, category in enumerate(data.categories)}
    categories = {
        before['id']: rows[after['id']]
        for before, after in zip(read.categories, whole.categories, strict=True)
        if after['id'] in rows
    }
    return ground_truth(data, images, categories)


def ground_truth(
    data: Annotations,
    image_rows: Mapping[Hashable, int] | None = None,
    category_rows: Mapping[Hashable, int] | None = None,
) -> GroundTruth:
    """Check complete annotations.

    Args:
        data: the annotations.
        image_rows, category_rows: from the ids of result files to rows; None: they are those of
            the annotations.

    Raises:
        DataError: an id repeats, a box is not finite, or there is no object to be found.
    """
    for key, entries in (('images', data.images), ('categories', data.categories)):
        ids = [entry['id'] for entry in entries]
        again, times = Counter(ids).most_common(1)[0] if ids else (None, 0)
        if times > 1:
            raise DataError(f"{data.source}: id {again!r} stands twice in '{key}'. Give each an id of its own.")
    known = (data.image_index >= 0) & (data.category_index >= 0)
    wrong = np.flatnonzero(known & ~np.isfinite(data.boxes).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{data.source}: 'bbox' of {data.place(int(wrong[0]))} is not four finite numbers. "
            'Correct it; `mmdet-dab new-data --leave-out-faulty` writes a copy without such boxes.'
        )
    crowd = np.array([bool(item.get('iscrowd')) for item in data.objects], dtype=bool)
    objects = np.flatnonzero(known & ~crowd)
    if not len(objects):
        names = listed(data.names()) or 'no class at all'
        raise DataError(
            f'{data.source}: it has no object to be found, of {names}. Give annotations with objects of these classes.'
        )
    if image_rows is None:
        image_rows = {image['id']: row for row, image in enumerate(data.images)}
    if category_rows is None:
        category_rows = {category['id']: row for row, category in enumerate(data.categories)}
    return GroundTruth(data, image_rows, category_rows, objects)


def _restricted(data: Annotations, classes: Sequence[str]) -> Annotations:
    """The same with some of the classes only."""
    categories = [category for category in data.categories if category['name'] in classes]
    ids = {category['id'] for category in categories}
    return Annotations(
        data.source, data.images, [item for item in data.objects if item['category_id'] in ids], categories
    )


def read_results(path: Path, gt: GroundTruth) -> Detections:
    """Read a result file: a JSON list of detections with the keys :data:`NEEDED`.

    Raises:
        DataError: it is no such file, or one of another dataset; names the first entry that is
            wrong, and how many are.
    """
    try:
        content = json.loads(decode(read_bytes(path), path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path}: it is not JSON, or is cut off ({error}). Write it again.') from error
    if not isinstance(content, list):
        raise DataError(f'{path}: it is not a list of detections. {_advice(content)}')
    return detections(content, gt, str(path))


def _advice(content: Any) -> str:
    if isinstance(content, dict) and isinstance(content.get('annotations'), list):
        return 'It looks like an annotation file: give that with --annotations, and the results of a detector here.'
    return f'Give a list of objects with {listed(NEEDED)}.'


def detections(entries: Sequence[Any], gt: GroundTruth, source: str) -> Detections:
    """Check the entries of a result file.

    Raises:
        DataError: see :func:`read_results`; the message begins with ``source``.
    """
    for number, entry in enumerate(entries):
        missing = [key for key in NEEDED if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise DataError(f'{source}: entry {number} has no {listed(missing)}. Each must have {listed(NEEDED)}.')
        if not is_box(entry['bbox']) or not all(map(math.isfinite, entry['bbox'])):
            raise DataError(
                f"{source}: 'bbox' of entry {number} is {str(entry['bbox'])[:80]}, not four finite numbers. Write "
                'x, y, width, height in pixels; numbers that are not finite come from a model whose training diverged.'
            )
        if min(entry['bbox'][2:]) < 0:
            raise DataError(
                f"{source}: 'bbox' of entry {number} is {str(entry['bbox'])[:80]}, with a negative width or height. "
                'Write x, y, width, height in pixels.'
            )
        if not _is_score(entry['score']):
            raise DataError(
                f"{source}: 'score' of entry {number} is {str(entry['score'])[:80]}. Write a number from 0 to 1."
            )
    image = _rows([entry['image_id'] for entry in entries], gt.image_rows)
    if (image < 0).any():
        raise DataError(_other_images(entries, image, gt, source))
    category = _rows([entry['category_id'] for entry in entries], gt.category_rows)
    if (category < 0).any():
        raise DataError(_other_categories(entries, category, gt, source))
    boxes = np.array([entry['bbox'] for entry in entries], dtype=np.float64).reshape(-1, 4)
    return Detections(image, category, boxes, np.array([entry['score'] for entry in entries], dtype=np.float64))


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _rows(ids: Sequence[Any], rows: Mapping[Hashable, int]) -> np.ndarray:
    return np.array([rows.get(one, -1) if isinstance(one, Hashable) else -1 for one in ids], dtype=np.int64)


def _unknown(ids: Sequence[Any], rows: np.ndarray) -> str:
    return listed(dict.fromkeys(repr(ids[row]) for row in np.flatnonzero(rows < 0).tolist()), 5)


def _other_images(entries: Sequence[Any], rows: np.ndarray, gt: GroundTruth, source: str) -> str:
    unknown = _unknown([entry['image_id'] for entry in entries], rows)
    return (
        f'{source}: {(rows < 0).sum():,} of {plural(len(entries), "detection")} are on images that '
        f"{gt.data.source} lacks ('image_id' {unknown}). Give the annotations of the images that were detected on."
    )


def _other_categories(entries: Sequence[Any], rows: np.ndarray, gt: GroundTruth, source: str) -> str:
    ids = [entry['category_id'] for entry in entries]
    known = listed(f'{one!r} ({gt.names[row]})' for one, row in gt.category_rows.items())
    text = (
        f"{source}: 'category_id' {_unknown(ids, rows)} of {plural(int((rows < 0).sum()), 'detection')} is none of "
        f'{gt.data.source}, which has {known}. '
    )
    if all(type(one) is int and 0 <= one < len(gt.names) for one in ids):
        return text + 'They look like labels, counted from 0: write the ids of the categories instead.'
    return text + 'Give the annotations with the classes of the detector.'
