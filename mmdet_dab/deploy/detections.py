"""What a detector finds in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of the image.
        scores: (n,) float32 in 0..1.
        labels: (n,) int64, indices of classes.
        names: of the classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Those whose score is at least the threshold."""
        kept = self.scores >= threshold
        names = tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept], names)
