"""Training and validation from one set: by image, the same every time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.files import read_lines
from mmdet_dab.data.images import same_content
from mmdet_dab.errors import DataError, plural

#: Orders that are tried for one that has every class on both sides; fewer of large sets, where the
#: first one has.
TRIES, MOST_HASHES = 100, 1_000_000


def split_by_share(data: Annotations, folder: Path, share: float, seed: int) -> tuple[list[int], list[int], str]:
    """Draw validation images by a hash of their names, so that neither order nor machine matters.

    Args:
        data: all images.
        folder: where they lie; images that are equal byte by byte stay together.
        share: of the images that go to validation, 0..1.
        seed: the first order that is tried; of 100, the one that leaves fewest classes on one side
            only is taken.

    Returns:
        rows of training and of validation, and how they were chosen.

    Raises:
        DataError: there is only one image.
    """
    groups = _groups(data, folder)
    number = min(max(1, round(share * len(data.images))), len(data.images) - 1)
    if len(groups) < 2:
        raise DataError(
            f'{data.source}: {plural(len(groups), "image")} cannot be divided. Name validation data, --val.'
        )
    present = _classes_by_image(data)
    tried = []
    tries = min(TRIES, max(1, MOST_HASHES // len(groups)))
    for trial in range(seed, seed + tries):
        val = _draw(data, groups, number, trial)
        tried.append((_one_sided(present, val, len(data.images)), trial, val))
        if tried[-1][0] == (0, 0):
            break
    (no_train, no_val), trial, val = min(tried)
    train = sorted(set(range(len(data.images))) - set(val))
    how = f'{len(val):,} of {plural(len(data.images), "image")} for validation, by a hash of names with seed {trial}'
    if no_train or no_val:
        how += f', the best of {plural(tries, "seed")}: {plural(no_train, "class", "classes")} in validation only, '
        how += f'{no_val:,} in training only'
    return train, val, how


def split_by_list(data: Annotations, path: Path) -> tuple[list[int], list[int], str]:
    """Take the validation images from a text file, a name or path on each line.

    So do VOC's ``ImageSets`` and Darknet.

    Raises:
        DataError: a name fits no image or several, or nothing is left for training.
    """
    rows: dict[str, set[int]] = {}
    for row, image in enumerate(data.images):
        name = Path(image['file_name'])
        for key in {image['file_name'], name.name, name.stem}:
            rows.setdefault(key, set()).add(row)
    # VOC's lists of one class end their lines in 1, 0 or -1.
    lines = [re.sub(r'\s+-?[01]$', '', line.strip()) for line in read_lines(path)]
    val: set[int] = set()
    for line in filter(None, lines):
        line = line.replace('\\', '/')
        found = rows.get(line) or rows.get(Path(line).name) or rows.get(Path(line).stem) or set()
        if len(found) != 1:
            what = 'is not' if not found else f'may be {len(found)} images'
            raise DataError(f"{path}: '{line}' {what} in {data.source}. Write names as they are there.")
        val |= found
    train = sorted(set(range(len(data.images))) - val)
    if not val or not train:
        raise DataError(f'{path}: it names {"all" if val else "no"} images of {data.source}. Name a part of them.')
    how = f'{len(val):,} of {plural(len(data.images), "image")} for validation, those that {path} lists'
    return train, sorted(val), how


def _groups(data: Annotations, folder: Path) -> list[list[int]]:
    """Rows that belong together: one image each, or several that are equal."""
    rows = {folder / image['file_name']: row for row, image in enumerate(data.images)}
    groups = [[rows[path] for path in group] for group in same_content(rows)]
    together = {row for group in groups for row in group}
    return groups + [[row] for row in range(len(data.images)) if row not in together]


def _draw(data: Annotations, groups: Sequence[Sequence[int]], number: int, seed: int) -> list[int]:
    def order(group: Sequence[int]) -> bytes:
        name = min(data.images[row]['file_name'] for row in group)
        return hashlib.md5(f'{seed} {name}'.encode(errors='surrogateescape'), usedforsecurity=False).digest()

    chosen: list[int] = []
    for group in sorted(groups, key=order):
        if len(chosen) < number:
            chosen += group
    return sorted(chosen)


def _classes_by_image(data: Annotations) -> np.ndarray:
    """(P, 2) int: pairs of class and image, without the classes that only one image has."""
    valid = (data.category_index >= 0) & (data.image_index >= 0)
    pairs = np.unique(np.stack([data.category_index[valid], data.image_index[valid]], axis=1), axis=0)
    images = np.bincount(pairs[:, 0], minlength=1)
    return pairs[images[pairs[:, 0]] > 1]


def _one_sided(pairs: np.ndarray, val: Sequence[int], num_images: int) -> tuple[int, int]:
    """How many classes are missing in training, and in validation."""
    side = np.zeros(num_images, dtype=bool)
    side[val] = True
    in_val = side[pairs[:, 1]]
    classes, train, validation = (set(rows.tolist()) for rows in (pairs[:, 0], pairs[~in_val, 0], pairs[in_val, 0]))
    return len(classes - train), len(classes - validation)
