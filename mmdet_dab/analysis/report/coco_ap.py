"""AP as COCO defines it, by pycocotools: overall, by class, by size, and above a score threshold."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_dab.analysis.report.inputs import Detections, GroundTruth

#: COCO's sizes, by the area of the annotation in pixels.
SIZES = {'small': 'below 32²', 'medium': '32² to 96²', 'large': 'above 96²'}
#: Score thresholds at which AP is computed again.
THRESHOLDS = np.arange(20) / 20
#: What the twelve numbers of COCO's summary are called.
SUMMARY = ('AP', 'AP50', 'AP75', *(f'AP {size}' for size in SIZES), 'AR1', 'AR10', 'AR100')


@dataclass(frozen=True)
class CocoAP:
    """COCO's evaluation of boxes. Values are 0 to 1; NaN where there is no object to be found.

    Attributes:
        evaluation: pycocotools', accumulated.
        names: of the classes, by row.
    """

    evaluation: Any
    names: list[str]

    @cached_property
    def summary(self) -> dict[str, float]:
        """The numbers that pycocotools prints, by :data:`SUMMARY`."""
        stats = self.evaluation.stats
        return {name: _known(value) for name, value in zip(SUMMARY, stats, strict=False)}

    @cached_property
    def precision(self) -> np.ndarray:
        """(10, 101, K) precision by IoU 0.5 to 0.95, recall 0 to 1 and class."""
        precision = self.evaluation.eval['precision'][:, :, :, 0, -1]
        return np.where(precision < 0, np.nan, precision)[..., self._order]

    @property
    def _order(self) -> np.ndarray:
        """Place in the evaluation, which sorts by id, of each class."""
        ids = [category['id'] for category in self.evaluation.cocoGt.dataset['categories']]
        return np.searchsorted(self.evaluation.params.catIds, ids)

    def by_class(self, iou: float | None = None, size: str = 'all') -> np.ndarray:
        """(K,) AP of each class, NaN where it has no object; ``iou``: None for the mean of ten."""
        area = self.evaluation.params.areaRngLbl.index(size)
        precision = self.evaluation.eval['precision'][:, :, :, area, -1][..., self._order]
        if iou is not None:
            precision = precision[np.isclose(self.evaluation.params.iouThrs, iou)]
        return np.where((precision < 0).all(axis=(0, 1)), np.nan, precision.mean(axis=(0, 1)))

    def curve(self, iou: float | None = None) -> np.ndarray:
        """(101,) precision by recall, the mean over classes; ``iou``: None for the mean of ten."""
        rows = slice(None) if iou is None else np.isclose(self.evaluation.params.iouThrs, iou)
        return np.nanmean(self.precision[rows], axis=(0, 2))

    def above(self, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
        """(S,) AP of what is left when all detections with lower scores are dropped."""
        per_class = [_ap_above(entries, thresholds) for entries in self._entries()]
        return np.mean([ap for ap in per_class if ap is not None], axis=0)

    def _entries(self) -> list[list[dict[str, Any]]]:
        """What pycocotools found on each image with objects of any size, class by class."""
        params = self.evaluation.params
        images, areas = len(params.imgIds), len(params.areaRng)
        starts = [number * areas * images for number in range(len(params.catIds))]
        return [[one for one in self.evaluation.evalImgs[start : start + images] if one] for start in starts]


def coco_ap(found: Detections, gt: GroundTruth) -> CocoAP:
    """Evaluate with pycocotools' own settings: IoU 0.5 to 0.95, 100 detections on an image."""
    data = gt.data
    boxes, areas = found.boxes, found.boxes[:, 2] * found.boxes[:, 3]
    image_ids, category_ids = ([entry['id'] for entry in entries] for entries in (data.images, data.categories))
    results = [
        dict(
            id=number + 1,
            image_id=image_ids[image],
            category_id=category_ids[category],
            bbox=box,
            area=area,
            score=score,
            iscrowd=0,
        )
        for number, (image, category, box, area, score) in enumerate(
            zip(
                found.image.tolist(),
                found.category.tolist(),
                boxes.tolist(),
                areas.tolist(),
                found.scores.tolist(),
                strict=True,
            )
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_index(gt, data.objects), _index(gt, results), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoAP(evaluation, gt.names)


def _index(gt: GroundTruth, objects: list[dict[str, Any]]) -> COCO:
    index = COCO()
    index.dataset = dict(images=gt.data.images, categories=gt.data.categories, annotations=objects)
    index.createIndex()
    return index


def _known(value: float) -> float:
    return float(value) if value >= 0 else float('nan')


def _ap_above(entries: list[dict[str, Any]], thresholds: np.ndarray) -> np.ndarray | None:
    """(S,) AP of one class, None for one without objects. The arithmetic is pycocotools'."""
    objects = sum(int((np.asarray(one['gtIgnore']) == 0).sum()) for one in entries)
    if not objects:
        return None
    scores = np.concatenate([np.asarray(one['dtScores'], dtype=float) for one in entries])
    order = np.argsort(-scores, kind='mergesort')
    matched = np.concatenate([one['dtMatches'] for one in entries], axis=1)[:, order] > 0
    ignored = np.concatenate([one['dtIgnore'] for one in entries], axis=1)[:, order].astype(bool)
    if not len(order):
        return np.zeros(len(thresholds))
    hits, wrong = np.cumsum(matched & ~ignored, axis=1), np.cumsum(~matched & ~ignored, axis=1)
    precision = hits / (hits + wrong + np.spacing(1))
    recalls = np.linspace(0, 1, 101)
    places = np.stack([np.searchsorted(row, recalls) for row in hits / objects])
    lengths = np.searchsorted(-scores[order], -thresholds, side='right')
    aps = {int(length): _ap_of_first(precision, places, int(length)) for length in set(lengths.tolist())}
    return np.array([aps[length] for length in lengths.tolist()])


def _ap_of_first(precision: np.ndarray, places: np.ndarray, length: int) -> float:
    """Mean precision at ``places`` (10, 101), of the first detections only."""
    if not length:
        return 0.0
    envelope = np.maximum.accumulate(precision[:, length - 1 :: -1], axis=1)[:, ::-1]
    padded = np.pad(envelope, ((0, 0), (0, 1)))
    return float(np.take_along_axis(padded, np.minimum(places, length), axis=1).mean())
