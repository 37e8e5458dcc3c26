"""Which detections and objects are worth looking at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdet_dab.analysis.report.confusion import Confusion
from mmdet_dab.analysis.report.inputs import Detections, GroundTruth
from mmdet_dab.analysis.report.matching import BKG, BOTH, CLS, DUPE, LOC, Matching

#: Images in each gallery.
MOST = 12
#: Of one pair of classes, or on one image, so that a gallery shows different things.
MOST_ALIKE = 2


@dataclass(frozen=True)
class Case:
    """One detection, or one object, in its image.

    Attributes:
        image: row of the image.
        detection: row in the detections; None: nothing was detected.
        target: index of the object; None: there is none.
        note: what there is to see.
    """

    image: int
    detection: int | None
    target: int | None
    note: str


@dataclass(frozen=True)
class Galleries:
    """Cases, the worst first.

    Attributes:
        label_errors: detections as sure as the right ones, on nothing that is annotated.
        misses: objects that nothing was detected on; first those without a detection of any score,
            the largest first.
        false_alarms: all other wrong detections, those with the highest scores.
        confused: detections of a wrong class with the highest scores.
        suspected: how many detections are suspected of being right, those not shown included.
    """

    label_errors: list[Case]
    misses: list[Case]
    false_alarms: list[Case]
    confused: list[Case]
    suspected: int


def choose(matching: Matching, found: Detections, gt: GroundTruth, mixed: Confusion, threshold: float) -> Galleries:
    """Choose the cases of all galleries.

    Args:
        matching: of all detections.
        found: the detections.
        gt: the ground truth.
        mixed: of the same threshold.
        threshold: scores from which on a detection counts.
    """
    scores = found.scores[matching.kept]
    order = np.argsort(-scores, kind='stable')
    sure = max(threshold, float(np.median(scores[matching.correct]))) if matching.correct.any() else np.inf
    counted = ~matching.ignored & ~matching.correct
    suspects = order[(counted & (matching.error == BKG) & (scores >= sure))[order]]
    in_pairs = np.zeros(len(scores), dtype=bool)
    in_pairs[mixed.pairs[:, 0]] = True
    alarm = counted & (scores >= threshold) & ~in_pairs
    alarm[suspects] = False
    alarms = order[alarm[order]]
    pairs = mixed.pairs[np.argsort(-scores[mixed.pairs[:, 0]], kind='stable')]
    return Galleries(
        label_errors=_detections(suspects, matching, found, gt),
        misses=_misses(matching, found, gt, mixed, threshold),
        false_alarms=_detections(alarms, matching, found, gt),
        confused=_confused(pairs, matching, found, gt),
        suspected=len(suspects),
    )


def _detections(rows: np.ndarray, matching: Matching, found: Detections, gt: GroundTruth) -> list[Case]:
    cases: list[Case] = []
    for row in rows.tolist():
        index = int(matching.kept[row])
        image, target = int(found.image[index]), int(matching.target[row])
        if _alike(cases, image) < MOST_ALIKE:
            kind = int(matching.error[row])
            cases.append(Case(image, index, None if target < 0 else target, NOTES[kind]))
        if len(cases) == MOST:
            break
    return cases


#: What is wrong with a false alarm.
NOTES = {
    CLS: 'The class does not fit, and another detection has the object',
    LOC: 'The box is too far off',
    BOTH: 'Neither class nor box fit',
    DUPE: 'The object has been found already',
    BKG: 'Nothing is annotated here',
}


def _alike(cases: list[Case], image: int) -> int:
    return sum(case.image == image for case in cases)


def _misses(matching: Matching, found: Detections, gt: GroundTruth, mixed: Confusion, threshold: float) -> list[Case]:
    """Objects without a detection of their class, and without one of another."""
    scores = np.append(found.scores[matching.kept], 0.0)
    score = scores[matching.found_by]
    missed = (matching.found_by < 0) | (score < threshold)
    missed[mixed.pairs[:, 1]] = False
    areas = gt.boxes[:, 2] * gt.boxes[:, 3]
    rows = np.flatnonzero(missed)
    cases: list[Case] = []
    for row in rows[np.lexsort((-areas[rows], score[rows]))].tolist():
        image = int(gt.image[row])
        if _alike(cases, image) < MOST_ALIKE:
            by = int(matching.found_by[row])
            note = 'No detection fits' if by < 0 else f'Found with a score of {score[row]:.2f} only'
            cases.append(Case(image, None, row, note))
        if len(cases) == MOST:
            break
    return cases


def _confused(pairs: np.ndarray, matching: Matching, found: Detections, gt: GroundTruth) -> list[Case]:
    cases: list[Case] = []
    seen: dict[tuple[int, int], int] = {}
    for row, target in pairs.tolist():
        index = int(matching.kept[row])
        pair = int(gt.category[target]), int(found.category[index])
        seen[pair] = seen.get(pair, 0) + 1
        if seen[pair] <= MOST // 3 and _alike(cases, int(found.image[index])) < MOST_ALIKE:
            cases.append(Case(int(found.image[index]), index, target, 'The box fits, the class does not'))
        if len(cases) == MOST:
            break
    return cases
