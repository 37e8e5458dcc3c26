"""Training and validation from one set: by picture, the same every time, and equal pictures on one side."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.images import same_content
from mmdet_dab.errors import DataError

#: Orders that are tried for one that has every class on both sides.
TRIES = 100


def split_by_share(data: Annotations, folder: Path, share: float, seed: int) -> tuple[list[int], list[int], str]:
    """Draw validation pictures by a hash of their names, so that neither order nor machine matters.

    Args:
        data: all pictures.
        folder: where they lie; pictures that are equal byte by byte stay together.
        share: of the pictures that go to validation, 0..1.
        seed: the first order that is tried; of 100, the one that leaves fewest classes on one side only is taken.

    Returns:
        rows of training and of validation, and how they were chosen.

    Raises:
        DataError: there is only one picture.
    """
    groups = _groups(data, folder)
    number = min(max(1, round(share * len(data.images))), len(data.images) - 1)
    if len(groups) < 2:
        raise DataError(f'{data.source} has {len(groups)} picture to divide: give validation pictures by --val')
    present = _classes_by_picture(data)
    tried = []
    for trial in range(seed, seed + TRIES):
        val = _draw(data, groups, number, trial)
        tried.append((_one_sided(present, val), trial, val))
        if tried[-1][0] == (0, 0):
            break
    (no_train, no_val), trial, val = min(tried)
    train = sorted(set(range(len(data.images))) - set(val))
    how = f'{len(val)} of {len(data.images)} pictures for validation, by a hash of their names with seed {trial}'
    if no_train or no_val:
        how += f', the best of {TRIES}: {no_train} classes are in validation only, {no_val} in training only'
    return train, val, how


def split_by_list(data: Annotations, path: Path) -> tuple[list[int], list[int], str]:
    """Take the validation pictures from a text file with a name or path on each line (VOC's ``ImageSets``, Darknet).

    Raises:
        DataError: a name fits no picture, or nothing is left for training.
    """
    rows = {}
    for row, image in enumerate(data.images):
        name = Path(image['file_name'])
        rows.update({image['file_name']: row, name.name: row, name.stem: row})
    # VOC's lists of one class end their lines in 1, 0 or -1.
    lines = [re.sub(r'\s+-?[01]$', '', line.strip()) for line in path.read_text(encoding='utf-8-sig').splitlines()]
    lines = [line for line in lines if line]
    unknown = [line for line in lines if line not in rows and Path(line).name not in rows]
    if unknown or not lines:
        raise DataError(f'{path} names {unknown[0] if unknown else "no picture"}, which {data.source} does not have')
    val = sorted({rows[line] if line in rows else rows[Path(line).name] for line in lines})
    train = sorted(set(range(len(data.images))) - set(val))
    if not train:
        raise DataError(f'{path} names all pictures of {data.source}, none is left to train on')
    return train, val, f'{len(val)} of {len(data.images)} pictures for validation, those that {path} lists'


def _groups(data: Annotations, folder: Path) -> list[list[int]]:
    """Rows that belong together: one picture each, or several that are equal."""
    rows = {folder / image['file_name']: row for row, image in enumerate(data.images)}
    groups = [[rows[path] for path in group] for group in same_content(rows)]
    together = {row for group in groups for row in group}
    return groups + [[row] for row in range(len(data.images)) if row not in together]


def _draw(data: Annotations, groups: Sequence[Sequence[int]], number: int, seed: int) -> list[int]:
    def order(group: Sequence[int]) -> str:
        name = min(data.images[row]['file_name'] for row in group)
        return hashlib.md5(f'{seed} {name}'.encode(), usedforsecurity=False).hexdigest()

    chosen: list[int] = []
    for group in sorted(groups, key=order):
        if len(chosen) < number:
            chosen += group
    return sorted(chosen)


def _classes_by_picture(data: Annotations) -> np.ndarray:
    """(I, C) bool: classes on every picture, without those that only one picture has."""
    classes = data.names()
    present = np.zeros((len(data.images), len(classes)), dtype=bool)
    labels = data.labels(classes)
    valid = (labels >= 0) & (data.image_index >= 0)
    present[data.image_index[valid], labels[valid]] = True
    return present[:, present.sum(axis=0) > 1]


def _one_sided(present: np.ndarray, val: Iterable[int]) -> tuple[int, int]:
    """How many classes are missing in training, and in validation."""
    side = np.zeros(len(present), dtype=bool)
    side[list(val)] = True
    return int((~present[~side].any(axis=0)).sum()), int((~present[side].any(axis=0)).sum())
