"""Which score threshold to use: where F1 is highest, for all classes together and for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdet_dab.analysis.report.inputs import Detections, GroundTruth
from mmdet_dab.analysis.report.matching import Matching


@dataclass(frozen=True)
class Curve:
    """What is found and what is right, at an IoU of 0.5, with each of the scores as threshold.

    Attributes:
        scores: (S,) float, descending, each once; detections of this score are kept.
        precision, recall: (S,) float, 0 to 1.
        objects: number of objects to be found.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    objects: int

    @property
    def f1(self) -> np.ndarray:
        """(S,) harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)

    def best(self) -> Point | None:
        """The threshold of the highest F1, the highest of several; None: nothing right was found.

        It is rounded down to what a user types, and the figures are those of the rounded one.
        """
        f1 = self.f1
        if not len(f1) or not f1.max():
            return None
        threshold = rounded_down(float(self.scores[f1.argmax()]))
        precision, recall, f1 = self.at(np.array([threshold]))
        return Point(threshold, float(precision[0]), float(recall[0]), float(f1[0]))

    def at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and F1 at thresholds (T,); precision is NaN where nothing is kept."""
        places = np.searchsorted(-self.scores, -np.asarray(thresholds), side='right')
        precision, recall, f1 = (
            np.append(nothing, values)[places]
            for nothing, values in ((np.nan, self.precision), (0.0, self.recall), (0.0, self.f1))
        )
        return precision, recall, f1


@dataclass(frozen=True)
class Point:
    """A threshold, and what it gives."""

    threshold: float
    precision: float
    recall: float
    f1: float


def curve(matching: Matching, found: Detections, gt: GroundTruth, label: int | None = None) -> Curve:
    """Of one class, or with ``label=None`` of all detections together."""
    rows = ~matching.ignored
    if label is not None:
        rows &= found.category[matching.kept] == label
    objects = len(gt.objects) if label is None else int(gt.counts[label])
    scores = found.scores[matching.kept][rows]
    order = np.argsort(-scores, kind='stable')
    scores, hits = scores[order], np.cumsum(matching.correct[rows][order])
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.empty(0, dtype=np.int64)
    return Curve(scores[ends], hits[ends] / (ends + 1), hits[ends] / max(objects, 1), objects)


def rounded_down(score: float) -> float:
    """Two digits, four for scores below 0.01: never above the score."""
    digits = 2 if score >= 0.01 else 4
    rounded = round(score, digits)
    return rounded if rounded <= score else round(rounded - 10**-digits, digits)


def shown(threshold: float) -> str:
    """A threshold as text."""
    return f'{threshold:.2f}' if threshold >= 0.01 or not threshold else f'{threshold:.4f}'
