"""An exported file against the detector that it was made of: sizes, batches and padding that
differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Detections = tuple[np.ndarray, np.ndarray, np.ndarray]
Run = Callable[[np.ndarray, np.ndarray], Detections]

#: Canvas sizes (height, width) of a check, in multiples of no stride; and batch sizes.
CANVASES = ((96, 128), (160, 107), (131, 230))
BATCHES = (1, 2, 5)


class Difference(NamedTuple):
    """How far two runs of one batch are apart.

    Attributes:
        batch, height, width: of the batch.
        score: largest difference of the scores at the same rank.
        box: largest difference of a box, in parts of the image, ties by score aside.
        unmatched: predictions without a counterpart of the same label and score.
    """

    batch: int
    height: int
    width: int
    score: float
    box: float
    unmatched: int


def batches(seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (B, 3, H, W) float32 and valid sizes (B, 2) int64, mixed within a batch."""
    random = np.random.default_rng(seed)
    for height, width in CANVASES:
        for batch in BATCHES:
            images = random.standard_normal((batch, 3, height, width), dtype=np.float32)
            shares = np.stack((1 - 0.11 * np.arange(batch), 1 - 0.07 * np.arange(batch)[::-1]), axis=1)
            valid = np.ceil(shares * (height, width)).astype(np.int64)
            for image, (valid_height, valid_width) in zip(images, valid, strict=True):
                image[:, valid_height:] = 0
                image[:, :, valid_width:] = 0
            yield images, valid


def difference(expected: Detections, found: Detections, size: tuple[int, int], close: float = 1e-5) -> Difference:
    """Compare the predictions of a batch.

    Predictions whose scores differ by less than ``close`` may swap places. A box is therefore
    compared with the nearest among those of its label and score. Those whose score is that of the
    last one kept may be missing.

    Args:
        expected: scores (B, K), labels (B, K), boxes (B, K, 4).
        found: the same of the other run.
        size: height and width of the canvas.
        close: scores that count as equal.
    """
    worst_box, unmatched = 0.0, 0
    for row in range(len(expected[0])):
        scores, labels, boxes = (part[row] for part in expected)
        other_scores, other_labels, other_boxes = (part[row] for part in found)
        certain = scores > scores[-1] + close
        for score, label, box in zip(scores[certain], labels[certain], boxes[certain], strict=True):
            alike = (other_labels == label) & (np.abs(other_scores - score) <= close)
            if not alike.any():
                unmatched += 1
                continue
            worst_box = max(worst_box, float(np.abs(other_boxes[alike] - box).max(axis=1).min()))
    score = float(np.abs(expected[0] - found[0]).max(initial=0))
    return Difference(len(expected[0]), *size, score, worst_box, unmatched)


def compare(reference: Run, exported: Run) -> Iterator[Difference]:
    """The differences over all batches of the check."""
    for images, valid in batches():
        yield difference(reference(images, valid), exported(images, valid), images.shape[2:])
