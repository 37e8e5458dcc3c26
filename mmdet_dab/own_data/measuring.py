"""What a data set is like: the figures that a config is chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_dab.own_data.annotations import Annotations
from mmdet_dab.own_data.checking import objects_per_picture


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

    def object_sizes(self, scale: tuple[int, int] | None = None) -> np.ndarray:
        """(N,) √(width · height) of the objects, pixels.

        Args:
            scale: longer and shorter side that pictures are fitted into (mmdet's ``Resize``, ``keep_ratio``); None: as
                they are.
        """
        sides = np.sqrt(self.objects[:, 0] * self.objects[:, 1])
        if scale is None:
            return sides
        return sides * resize_factor(self.objects[:, 2:], scale)


def resize_factor(sizes: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    """(N,) by how much pictures of ``sizes`` (N, 2) grow when they are fitted into ``scale``, their ratio kept."""
    longer, shorter = max(scale), min(scale)
    return np.minimum(longer / sizes.max(axis=1), shorter / sizes.min(axis=1))


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
