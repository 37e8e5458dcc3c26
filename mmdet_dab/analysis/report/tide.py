"""What each type of error costs: by how much AP50 rises if it alone is corrected (TIDE, ECCV 2020).

As in tidecv, the mean is over classes with objects or detections. So a class that has detections
but no object counts as AP 0, which COCO's AP leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdet_dab.analysis.report.inputs import Detections, GroundTruth
from mmdet_dab.analysis.report.matching import CLS, LOC, TYPES, Matching

#: The recalls at which a precision is read, in tidecv's rounding.
RECALLS = np.arange(101) / 100
#: The six types that add up to all errors, and the two that count all of a kind.
ALL_TYPES = (*TYPES, 'Miss', 'FP', 'FN')


@dataclass(frozen=True)
class ErrorCosts:
    """AP50 of TIDE, how often each type of error occurs, and what it costs.

    Attributes:
        ap50: in hundredths.
        gain: type -> rise of AP50 in hundredths, if all errors of the type are corrected.
        count: type -> number of them, of any score.
    """

    ap50: float
    gain: dict[str, float]
    count: dict[str, int]

    def largest(self) -> str:
        """The type whose correction would help most; of Cls, Loc, Both, Dupe, Bkg and Miss."""
        return max((*TYPES, 'Miss'), key=self.gain.__getitem__)


@dataclass(frozen=True)
class _Points:
    """Detections as a precision-recall curve takes them: class, score, whether right."""

    category: np.ndarray
    score: np.ndarray
    correct: np.ndarray

    def mean_ap(self, objects: np.ndarray) -> float:
        """Mean over the classes with detections or objects, in hundredths; ``objects``: (K,) int."""
        order = np.lexsort((-self.score, self.category))
        bounds = np.searchsorted(self.category[order], np.arange(len(objects) + 1))
        detected = np.diff(bounds)
        correct = self.correct[order]
        aps = [
            average_precision(correct[bounds[label] : bounds[label + 1]], int(objects[label]))
            for label in np.flatnonzero((detected > 0) | (objects > 0)).tolist()
        ]
        return 100 * float(np.mean(aps)) if aps else 0.0


def average_precision(correct: np.ndarray, objects: int) -> float:
    """COCO's AP of one class at one IoU: the mean of 101 precisions, 0 to 1.

    Args:
        correct: (N,) bool, by descending score.
        objects: number of them.
    """
    if not objects or not len(correct):
        return 0.0
    hits = np.cumsum(correct)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / objects, RECALLS)
    return float(np.append(envelope, 0.0)[places].mean())


def error_costs(matching: Matching, found: Detections, gt: GroundTruth) -> ErrorCosts:
    """Correct one type of error after another, and see how AP50 rises."""
    category, score = found.category[matching.kept], found.scores[matching.kept]
    counted = ~matching.ignored
    points = _Points(category[counted], score[counted], matching.correct[counted])
    objects = gt.counts
    ap50 = points.mean_ap(objects)
    gain = {}
    for kind, name in enumerate(TYPES):
        wrong = matching.error == kind
        corrected = _correctable(matching, score, kind) if kind in (CLS, LOC) else np.zeros_like(wrong)
        rows = np.flatnonzero((counted & ~wrong) | corrected)
        classes = category.copy()
        classes[corrected] = gt.category[matching.target[corrected]]
        fixed = _Points(classes[rows], score[rows], (matching.correct | corrected)[rows])
        gain[name] = max(fixed.mean_ap(objects) - ap50, 0.0)
    missed = np.bincount(gt.category[matching.missed], minlength=len(objects))
    unfound = np.bincount(gt.category[matching.found_by < 0], minlength=len(objects))
    gain['Miss'] = max(points.mean_ap(objects - missed) - ap50, 0.0)
    gain['FP'] = _Points(points.category, points.correct.astype(float), points.correct).mean_ap(objects) - ap50
    gain['FN'] = points.mean_ap(objects - unfound) - ap50
    count = {name: int((matching.error == kind).sum()) for kind, name in enumerate(TYPES)}
    count['Miss'] = int(missed.sum())
    count['FP'], count['FN'] = int((~points.correct).sum()), int(unfound.sum())
    return ErrorCosts(ap50, gain, count)


def _correctable(matching: Matching, score: np.ndarray, kind: int) -> np.ndarray:
    """(M,) bool: the errors that find their object if corrected.

    Of several for one object it is the one with the highest score, among those of class and box
    together. An object that is found already needs none.
    """
    candidates = np.flatnonzero((matching.error == CLS) | (matching.error == LOC))
    candidates = candidates[matching.found_by[matching.target[candidates]] < 0]
    best = candidates[np.argsort(-score[candidates], kind='stable')]
    _, first = np.unique(matching.target[best], return_index=True)
    chosen = np.zeros(len(score), dtype=bool)
    chosen[best[first]] = True
    return chosen & (matching.error == kind)
