"""What a dataset is like: the numbers that a config is chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_dab.data.annotations import Annotations


@dataclass(frozen=True)
class Resizing:
    """How a training run resizes images: mmdet's ``Resize``.

    Attributes:
        scale: width and height that images are squeezed to, or, with ``keep_ratio``, longer and
            shorter side that they are fitted into; pixels.
        keep_ratio: of width to height.
    """

    scale: tuple[int, int]
    keep_ratio: bool

    def factors(self, sizes: np.ndarray) -> np.ndarray:
        """(N, 2) by how much images of ``sizes`` (N, 2) grow in width and in height."""
        if not self.keep_ratio:
            return self.scale / sizes
        longer, shorter = max(self.scale), min(self.scale)
        return np.minimum(longer / sizes.max(axis=1), shorter / sizes.min(axis=1))[:, None].repeat(2, axis=1)


@dataclass(frozen=True)
class Statistics:
    """One split in numbers.

    Attributes:
        sizes: (I, 2) width and height of the images, pixels.
        counts: (I,) objects on each image.
        objects: (N, 4) width and height of an object, in its image, and of the image, pixels.
        per_class: (C,) objects of each class.
        images_per_class: (C,) images on which it occurs.
        ignored: crowds and difficult objects, which are neither trained on nor missed.
    """

    sizes: np.ndarray
    counts: np.ndarray
    objects: np.ndarray
    per_class: np.ndarray
    images_per_class: np.ndarray
    ignored: int

    def typical_size(self) -> tuple[int, int]:
        """Median width and height of the images."""
        width, height = np.median(self.sizes, axis=0)
        return round(width), round(height)

    def relative_size(self) -> tuple[float, float]:
        """Median width and height of the objects, as fractions of their images."""
        width, height = np.median(self.objects[:, :2] / self.objects[:, 2:], axis=0)
        return float(width), float(height)

    def object_sizes(self, resizing: Resizing | None = None) -> np.ndarray:
        """(N,) √(width · height) of the objects, pixels; None: in images as they are."""
        sides = self.objects[:, :2]
        if resizing is not None:
            sides = sides * resizing.factors(self.objects[:, 2:])
        return np.sqrt(sides.prod(axis=1))


def measure(data: Annotations, classes: Sequence[str]) -> Statistics:
    """Measure the objects of ``classes`` that can be found, as far as they lie in their images."""
    labels = data.labels(classes)
    sizes = data.sizes[data.image_index] if len(data.objects) else np.empty((0, 2))
    starts = np.clip(data.boxes[:, :2], 0, sizes)
    sides = np.clip(data.boxes[:, :2] + data.boxes[:, 2:], 0, sizes) - starts
    valid = data.counted & (data.image_index >= 0) & (labels >= 0) & (sides > 0).all(axis=1)
    pairs = np.unique(np.stack([labels[valid], data.image_index[valid]], axis=1), axis=0)
    return Statistics(
        data.sizes,
        data.objects_per_image(classes),
        np.concatenate([sides[valid], sizes[valid]], axis=1),
        np.bincount(labels[valid], minlength=len(classes)),
        np.bincount(pairs[:, 0], minlength=len(classes)),
        int((~data.counted & (labels >= 0)).sum()),
    )
