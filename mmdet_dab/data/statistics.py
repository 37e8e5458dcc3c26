"""What a data set is like: the figures that a config is chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import objects_per_picture


@dataclass(frozen=True)
class Resizing:
    """How a training resizes pictures: mmdet's ``Resize``.

    Attributes:
        scale: width and height that pictures are squeezed to, or, with ``keep_ratio``, longer and shorter side that
            they are fitted into; pixels.
        keep_ratio: of width to height.
    """

    scale: tuple[int, int]
    keep_ratio: bool

    def factors(self, sizes: np.ndarray) -> np.ndarray:
        """(N, 2) by how much pictures of ``sizes`` (N, 2) grow in width and in height."""
        if not self.keep_ratio:
            return self.scale / sizes
        longer, shorter = max(self.scale), min(self.scale)
        return np.minimum(longer / sizes.max(axis=1), shorter / sizes.min(axis=1))[:, None].repeat(2, axis=1)


@dataclass(frozen=True)
class Measures:
    """One split in figures.

    Attributes:
        sizes: (I, 2) width and height of the pictures, pixels.
        counts: (I,) objects on each picture.
        objects: (N, 4) width and height of an object and of its picture, pixels.
        per_class: (C,) objects of each class.
        pictures_per_class: (C,) pictures on which it occurs.
        ignored: crowds and difficult objects, which are neither trained on nor missed.
    """

    sizes: np.ndarray
    counts: np.ndarray
    objects: np.ndarray
    per_class: np.ndarray
    pictures_per_class: np.ndarray
    ignored: int

    def typical_size(self) -> tuple[int, int]:
        """Median width and height of the pictures."""
        width, height = np.median(self.sizes, axis=0)
        return round(width), round(height)

    def relative_size(self) -> tuple[float, float]:
        """Median width and height of the objects, as parts of their pictures."""
        width, height = np.median(self.objects[:, :2] / self.objects[:, 2:], axis=0)
        return float(width), float(height)

    def object_sizes(self, resizing: Resizing | None = None) -> np.ndarray:
        """(N,) √(width · height) of the objects, pixels, in resized pictures or, without ``resizing``, as they are."""
        sides = self.objects[:, :2]
        if resizing is not None:
            sides = sides * resizing.factors(self.objects[:, 2:])
        return np.sqrt(sides.prod(axis=1))


def measure(data: Annotations, classes: Sequence[str]) -> Measures:
    """Measure the objects of ``classes`` that can be found; crowds and boxes that are none do not count."""
    labels = data.labels(classes)
    boxes = data.boxes
    valid = data.counted & (data.image_index >= 0) & (labels >= 0)
    valid &= np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    pairs = np.unique(np.stack([labels[valid], data.image_index[valid]], axis=1), axis=0)
    return Measures(
        data.sizes,
        objects_per_picture(data, classes),
        np.concatenate([boxes[valid, 2:], data.sizes[data.image_index[valid]]], axis=1),
        np.bincount(labels[valid], minlength=len(classes)),
        np.bincount(pairs[:, 0], minlength=len(classes)),
        int((~data.counted & (labels >= 0)).sum()),
    )
