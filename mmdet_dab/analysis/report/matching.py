"""Which detection found which object, and why the others found none: TIDE's types of errors.

Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for Identifying Object Detection Errors (ECCV
2020), section 2. The order of the tests, and what becomes of detections within crowds, are those of
their code (tidecv), so that counts are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask

from mmdet_dab.analysis.report.inputs import Detections, GroundTruth

#: Errors of a detection: wrong class; right class but box too far off; both; the object has been
#: found by another detection; nothing is there.
TYPES = ('Cls', 'Loc', 'Both', 'Dupe', 'Bkg')
CLS, LOC, BOTH, DUPE, BKG = range(5)
#: IoU from which on an object counts as found, and up to which a detection lies on the background.
FOUND, BACKGROUND = 0.5, 0.1
#: Detections that count on an image, those with the highest scores.
PER_IMAGE = 100


@dataclass(frozen=True)
class Matching:
    """What became of detections and objects at an IoU of 0.5.

    Detections of an image are looked at by descending score. Each takes the object of its class
    that it covers best, unless that is taken.

    Attributes:
        kept: (M,) int, rows in the detections: the best 100 of each image, by image and score.
        correct: (M,) bool, it found an object.
        ignored: (M,) bool, it found none but lies in a crowd of its class: neither right nor wrong.
        error: (M,) int, index in :data:`TYPES`; −1: correct.
        target: (M,) int, index of the object that it found, or should have (Cls, Loc), or that
            another one found (Dupe); −1: none.
        found_by: (G,) int, index into ``kept`` of the detection that found an object; −1: none.
        missed: (G,) bool, not found, and no error of class or box would find it if corrected.
    """

    kept: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    error: np.ndarray
    target: np.ndarray
    found_by: np.ndarray
    missed: np.ndarray


def match(found: Detections, gt: GroundTruth) -> Matching:
    """Match all images."""
    order = np.lexsort((-found.scores, found.image))
    bounds = np.searchsorted(found.image[order], np.arange(len(gt.data.images) + 1))
    objects = np.argsort(gt.image, kind='stable')
    object_bounds = np.searchsorted(gt.image[objects], np.arange(len(gt.data.images) + 1))
    crowds = _crowds(gt)
    parts, kept, start = [], [], 0
    found_by = np.full(len(gt.objects), -1, dtype=np.int64)
    for row in range(len(gt.data.images)):
        mine = order[bounds[row] : bounds[row + 1]][:PER_IMAGE]
        if not len(mine):
            continue
        here = objects[object_bounds[row] : object_bounds[row + 1]]
        image = _Image(found.boxes[mine], found.category[mine], gt.boxes[here], gt.category[here])
        image.ignore(*crowds.get(row, (np.empty((0, 4)), np.empty(0, dtype=np.int64))))
        error, target = image.errors()
        parts.append((image.taken >= 0, image.ignored, error, np.append(here, -1)[target]))
        found_by[here] = np.where(image.taken_by >= 0, start + image.taken_by, -1)
        kept.append(mine)
        start += len(mine)
    if not parts:
        nothing = np.empty(0, dtype=np.int64)
        none = np.empty(0, dtype=bool)
        return Matching(nothing, none, none, nothing, nothing, found_by, np.ones(len(found_by), dtype=bool))
    correct, ignored, error, target = (np.concatenate(column) for column in zip(*parts, strict=True))
    missed = found_by < 0
    missed[target[(error == CLS) | (error == LOC)]] = False
    return Matching(np.concatenate(kept), correct, ignored, error, target, found_by, missed)


def _crowds(gt: GroundTruth) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Image row -> boxes and classes of its crowds."""
    rows: dict[int, list[int]] = {}
    for index, item in enumerate(gt.data.objects):
        if item.get('iscrowd') and gt.data.image_index[index] >= 0 and gt.data.category_index[index] >= 0:
            rows.setdefault(int(gt.data.image_index[index]), []).append(index)
    return {row: (gt.data.boxes[indices], gt.data.category_index[indices]) for row, indices in rows.items()}


class _Image:
    """One image: (D,) detections by descending score, (G,) objects."""

    def __init__(self, boxes: np.ndarray, category: np.ndarray, objects: np.ndarray, classes: np.ndarray) -> None:
        self.boxes, self.category = boxes, category
        self.iou = overlaps(boxes, objects)
        self.same = category[:, None] == classes[None, :]
        self.same_iou = self.iou * self.same
        self.taken = np.full(len(boxes), -1, dtype=np.int64)
        self.taken_by = np.full(len(objects), -1, dtype=np.int64)
        self.ignored = np.zeros(len(boxes), dtype=bool)
        free = self.same_iou.copy()
        for row in np.flatnonzero((free >= FOUND).any(axis=1)).tolist():
            best = int(free[row].argmax())
            if free[row, best] >= FOUND:
                self.taken[row], self.taken_by[best] = best, row
                free[:, best] = 0

    def ignore(self, boxes: np.ndarray, classes: np.ndarray) -> None:
        """Leave out what lies in a crowd: measured by its share of the detection."""
        if len(boxes):
            inside = overlaps(self.boxes, boxes, crowds=True) > FOUND
            self.ignored = (inside & (self.category[:, None] == classes)).any(axis=1) & (self.taken < 0)

    def errors(self) -> tuple[np.ndarray, np.ndarray]:
        """(D,) type of error, −1 where there is none; (D,) the object concerned, −1 for none."""
        if not self.iou.shape[1]:
            return np.full(len(self.boxes), BKG), np.full(len(self.boxes), -1)
        other = self.iou * ~self.same
        taken = self.same_iou * (self.taken_by >= 0)
        close, wrong_class, again = self.same_iou.max(axis=1), other.max(axis=1), taken.max(axis=1)
        tests = (
            (self.taken >= 0, -1, self.taken),
            ((close >= BACKGROUND) & (close <= FOUND), LOC, self.same_iou.argmax(axis=1)),
            (wrong_class >= FOUND, CLS, other.argmax(axis=1)),
            (again >= FOUND, DUPE, taken.argmax(axis=1)),
            (self.iou.max(axis=1) <= BACKGROUND, BKG, np.full(len(self.boxes), -1)),
        )
        conditions = [condition for condition, _, _ in tests]
        error = np.select(conditions, [np.full(len(self.boxes), kind) for _, kind, _ in tests], BOTH)
        return error, np.select(conditions, [index for *_, index in tests], -1)


def overlaps(boxes: np.ndarray, objects: np.ndarray, crowds: bool = False) -> np.ndarray:
    """(D, G) IoU of boxes x y w h, or with ``crowds`` the share of a box in an object."""
    if not len(boxes) or not len(objects):
        return np.zeros((len(boxes), len(objects)))
    return np.asarray(mask.iou(np.ascontiguousarray(boxes), np.ascontiguousarray(objects), [crowds] * len(objects)))
