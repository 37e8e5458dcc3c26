"""Which class is taken for which, at the suggested threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdet_dab.analysis.report.inputs import Detections, GroundTruth
from mmdet_dab.analysis.report.matching import FOUND, Matching, overlaps


@dataclass(frozen=True)
class Confusion:
    """Objects by their class and by the class that they were detected as.

    Attributes:
        matrix: (K + 1, K + 1) int. Row: class of the object, the last one: there is none. Column:
            class of the detection, the last one: there is none.
        pairs: (P, 2) int, index into ``kept`` and object, of detections of a wrong class.
    """

    matrix: np.ndarray
    pairs: np.ndarray

    def top(self, number: int) -> list[tuple[int, int, int]]:
        """The commonest confusions of two classes: object's, detected, how often."""
        inner = self.matrix[:-1, :-1].copy()
        np.fill_diagonal(inner, 0)
        order = np.argsort(-inner, axis=None, kind='stable')[:number]
        rows, columns = np.unravel_index(order, inner.shape)
        return [(int(a), int(b), int(inner[a, b])) for a, b in zip(rows, columns, strict=True) if inner[a, b]]

    def most_confused(self, number: int) -> list[int]:
        """Classes that take part in most confusions, or else have most objects, in order of rows."""
        inner = self.matrix[:-1, :-1]
        own = np.diagonal(inner)
        mixed = inner.sum(axis=0) + inner.sum(axis=1) - 2 * own
        order = np.lexsort((-self.matrix[:-1].sum(axis=1), -mixed))
        return sorted(order[:number].tolist())


def confusion(matching: Matching, found: Detections, gt: GroundTruth, threshold: float) -> Confusion:
    """Pair what was not found with detections of other classes, at an IoU of 0.5.

    Objects that a detection of their class finds are paired with it, as everywhere in the report.
    Each detection that is left, by descending score, takes the object that it covers best, of those
    that are left.
    """
    kinds = len(gt.names)
    category, scores = found.category[matching.kept], found.scores[matching.kept]
    shown = (scores >= threshold) & ~matching.ignored
    taken = np.zeros(len(gt.objects), dtype=bool)
    taken[matching.target[matching.correct & shown]] = True
    pairs = _pairs(matching, found, gt, np.flatnonzero(shown & ~matching.correct), taken)
    matrix = np.zeros((kinds + 1, kinds + 1), dtype=np.int64)
    right = matching.target[matching.correct & shown]
    np.add.at(matrix, (gt.category[right], gt.category[right]), 1)
    np.add.at(matrix, (gt.category[pairs[:, 1]], category[pairs[:, 0]]), 1)
    taken[pairs[:, 1]] = True
    alone = np.setdiff1d(np.flatnonzero(shown & ~matching.correct), pairs[:, 0])
    matrix[kinds, :-1] = np.bincount(category[alone], minlength=kinds)
    matrix[:-1, kinds] = np.bincount(gt.category[~taken], minlength=kinds)
    return Confusion(matrix, pairs)


def _pairs(matching: Matching, found: Detections, gt: GroundTruth, rows: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """(P, 2) detection and object of another class, image by image."""
    pairs = []
    images = found.image[matching.kept[rows]]
    free = np.flatnonzero(~taken)
    for image in np.intersect1d(images, gt.image[free]).tolist():
        mine = rows[images == image]  # by descending score, as ``kept`` is
        here = free[gt.image[free] == image]
        iou = overlaps(found.boxes[matching.kept[mine]], gt.boxes[here])
        for row in np.flatnonzero((iou >= FOUND).any(axis=1)).tolist():
            best = int(iou[row].argmax())
            if iou[row, best] >= FOUND:
                pairs.append((mine[row], here[best]))
                iou[:, best] = 0
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
