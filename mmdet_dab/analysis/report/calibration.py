"""Whether a score of 0.8 means that 80 % are right: reliability diagram and calibration error.

Küppers, Kronenberger, Shantia, Haselhoff: Multivariate Confidence Calibration for Object Detection
(CVPR workshops 2020), with the score as the only dimension: a detection is right if it finds an
object of its class at an IoU of 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdet_dab.analysis.report.inputs import Detections
from mmdet_dab.analysis.report.matching import Matching

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Detections in bins of equal width by their score.

    Attributes:
        count: (B,) int, detections in each bin.
        score: (B,) float, their mean score; NaN in an empty bin.
        precision: (B,) float, the share of them that is right; NaN in an empty bin.
    """

    count: np.ndarray
    score: np.ndarray
    precision: np.ndarray

    @property
    def error(self) -> float:
        """ECE: the mean distance of score and precision, weighted by the detections in a bin."""
        if not self.count.sum():
            return float('nan')
        return float(np.nansum(self.count * np.abs(self.score - self.precision)) / self.count.sum())

    def bias(self) -> float:
        """Mean score minus precision: positive for scores that promise too much."""
        if not self.count.sum():
            return float('nan')
        return float(np.nansum(self.count * (self.score - self.precision)) / self.count.sum())


def calibration(matching: Matching, found: Detections, above: float = 0.0) -> Calibration:
    """Of the detections with a score of at least ``above``."""
    scores = found.scores[matching.kept]
    rows = ~matching.ignored & (scores >= above)
    scores, correct = scores[rows], matching.correct[rows]
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    count, score, right = (
        np.bincount(places, weights=weights, minlength=BINS) for weights in (None, scores, correct.astype(float))
    )
    with np.errstate(invalid='ignore'):
        return Calibration(count.astype(int), score / count, right / count)
