"""A report of the test that runs: detections as MMDetection's Runner hands them to its metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from PIL import Image

from mmdet_dab.analysis.report import inputs
from mmdet_dab.analysis.report.evaluate import evaluate
from mmdet_dab.analysis.report.images import folder_loader, size_reader
from mmdet_dab.analysis.report.inputs import GroundTruth
from mmdet_dab.analysis.report.page import Speed, prepare, write
from mmdet_dab.analysis.report.tiles import Loader
from mmdet_dab.console import say
from mmdet_dab.data.annotations import Annotations
from mmdet_dab.errors import ConfigError

#: The detections, as a result file of COCO's kind.
RESULTS = 'detections.bbox.json'


def attach(runner: Runner, folder: Path, title: str) -> None:
    """Let ``runner.test()`` write a report as well.

    Args:
        runner: built, with a ``test_dataloader``.
        folder: for the report.
        title: of the page.

    Raises:
        DataError: the ground truth cannot be evaluated on.
        ConfigError: the test has no boxes as ground truth.
        UserError: the folder cannot be created.
    """
    dataset = runner.test_dataloader.dataset
    if isinstance(dataset, CocoDataset):
        # Labels count its cat_ids, which stand in the order of the file, whatever the classes say.
        metric = ReportMetric(folder, title, *_of_coco(dataset), dataset.cat_ids)
    else:
        metric = ReportMetric(folder, title, *_of_any(dataset), range(len(dataset.metainfo['classes'])))
    prepare(folder)
    runner.test_evaluator.metrics.append(metric)


class ReportMetric(BaseMetric):
    """Collects detections of all processes, and writes the report in the first.

    Args:
        folder: for the report and its result file.
        title: of the page.
        gt: the ground truth.
        load: gives images, None: no galleries.
        category_ids: ids in the ground truth, by label.
    """

    def __init__(
        self, folder: Path, title: str, gt: GroundTruth, load: Loader | None, category_ids: Sequence[int]
    ) -> None:
        super().__init__(prefix='report')
        self.folder, self.title, self.gt, self.load = folder, title, gt, load
        self.category_ids = category_ids
        self.ticks: list[tuple[float, int]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the detections of a batch, and the time."""
        for sample in data_samples:
            predicted = sample['pred_instances']
            corners = predicted['bboxes'].cpu().numpy().astype(np.float64)
            boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
            self.results.append(
                (sample['img_id'], boxes, predicted['scores'].cpu().numpy(), predicted['labels'].cpu().numpy())
            )
        self.ticks.append((time.perf_counter(), len(data_samples)))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Write the result file, then the report; there is no figure to log."""
        say(f'report: evaluating {sum(len(scores) for _, _, scores, _ in results):,} detections …')
        entries = [
            dict(image_id=image, category_id=self.category_ids[label], bbox=box, score=score)
            for image, boxes, scores, labels in results
            for box, score, label in zip(
                boxes.tolist(), scores.astype(np.float64).tolist(), labels.tolist(), strict=True
            )
        ]
        path = self.folder / RESULTS
        path.write_text(json.dumps(entries), encoding='utf-8')
        found = inputs.detections(entries, self.gt, str(path))
        pages = write(evaluate(found, self.gt), self.folder, self.title, self.load, self._speed())
        say(f'report  {pages[0]}')
        return {}

    def _speed(self) -> Speed | None:
        """Of all processes together; the first batch warms up."""
        if len(self.ticks) < 2:
            return None
        (start, _), *rest = self.ticks
        images = sum(number for _, number in rest) * get_world_size()
        return Speed(
            images / max(rest[-1][0] - start, 1e-9),
            'of this test, from the second batch on, with loading, preprocessing and evaluation.',
        )


def _of_coco(dataset: CocoDataset) -> tuple[GroundTruth, Loader | None]:
    """The annotation file itself, whose areas decide what is small or large."""
    folder = Path((dataset.data_prefix or {}).get('img') or '.')
    gt = inputs.read_ground_truth(Path(dataset.ann_file), size_reader(folder), dataset.metainfo['classes'])
    return gt, folder_loader(folder, gt.data.images)


def _of_any(dataset: Any) -> tuple[GroundTruth, Loader | None]:
    """What a dataset of any kind tells of its images: boxes, labels, and files or pixels."""
    classes = dataset.metainfo['classes']
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    pixels = False
    for row in range(len(dataset)):
        info = dataset.get_data_info(row)
        if 'instances' not in info:
            raise ConfigError(f'--report: {type(dataset).__name__} has no boxes to evaluate on')
        pixels = pixels or 'img' in info
        name = str(info.get('img_path') or f'image {info["img_id"]}')
        images.append(dict(id=info['img_id'], file_name=name, width=info['width'], height=info['height']))
        for item in info['instances']:
            x1, y1, x2, y2 = item['bbox']
            objects.append(
                dict(
                    id=len(objects) + 1,
                    image_id=info['img_id'],
                    category_id=item['bbox_label'],
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=int(item.get('ignore_flag', 0)),
                )
            )
    categories = [dict(id=label, name=name) for label, name in enumerate(classes)]
    gt = inputs.ground_truth(Annotations(Path(type(dataset).__name__), images, objects, categories))
    if not pixels:
        return gt, folder_loader(Path('.'), images)
    return gt, lambda row: Image.fromarray(np.ascontiguousarray(dataset.get_data_info(row)['img'][..., ::-1]))
