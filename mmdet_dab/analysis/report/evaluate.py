"""Everything that a report tells, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmdet_dab.analysis.report.calibration import Calibration, calibration
from mmdet_dab.analysis.report.coco_ap import CocoAP, coco_ap
from mmdet_dab.analysis.report.confusion import Confusion, confusion
from mmdet_dab.analysis.report.gallery import Galleries, choose
from mmdet_dab.analysis.report.inputs import Detections, GroundTruth
from mmdet_dab.analysis.report.matching import Matching, match
from mmdet_dab.analysis.report.thresholds import Curve, Point, curve
from mmdet_dab.analysis.report.tide import ErrorCosts, error_costs


@dataclass(frozen=True)
class Evaluation:
    """Detections against their ground truth.

    Attributes:
        found: the detections.
        gt: the ground truth.
        ap: COCO's figures.
        matching: at an IoU of 0.5.
        costs: errors by TIDE's types.
        overall: precision and recall by threshold, all detections together.
        classes: the same for each class.
        calibration: of all detections.
        confident: of those from the suggested threshold on.
        confusion, galleries: at the suggested threshold.
    """

    found: Detections
    gt: GroundTruth
    ap: CocoAP
    matching: Matching
    costs: ErrorCosts
    overall: Curve
    classes: list[Curve]
    calibration: Calibration
    confident: Calibration
    confusion: Confusion
    galleries: Galleries

    @property
    def best(self) -> Point | None:
        """The suggested threshold, where F1 is highest; None: no detection is right."""
        return self.overall.best()

    @property
    def threshold(self) -> float:
        """The suggested threshold; 0 where there is none."""
        return threshold_of(self.overall)

    @cached_property
    def class_ap(self) -> np.ndarray:
        """(K,) AP of each class, NaN where it has no object."""
        return self.ap.by_class()

    @cached_property
    def worst_first(self) -> list[int]:
        """Classes with objects by rising AP."""
        known = np.flatnonzero(np.isfinite(self.class_ap))
        return known[np.argsort(self.class_ap[known], kind='stable')].tolist()


def threshold_of(overall: Curve) -> float:
    """The suggested threshold, 0 where no detection is right."""
    best = overall.best()
    return 0.0 if best is None else best.threshold


def evaluate(found: Detections, gt: GroundTruth) -> Evaluation:
    """Compute everything. Ten thousand detections take about a second, most of it in pycocotools."""
    matching = match(found, gt)
    overall = curve(matching, found, gt)
    threshold = threshold_of(overall)
    mixed = confusion(matching, found, gt, threshold)
    return Evaluation(
        found=found,
        gt=gt,
        ap=coco_ap(found, gt),
        matching=matching,
        costs=error_costs(matching, found, gt),
        overall=overall,
        classes=[curve(matching, found, gt, label) for label in range(len(gt.names))],
        calibration=calibration(matching, found),
        confident=calibration(matching, found, threshold),
        confusion=mixed,
        galleries=choose(matching, found, gt, mixed, threshold),
    )
