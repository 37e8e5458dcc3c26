"""Figure 12: the images on which a detector fails most."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmdet.apis import inference_detector
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.structures import InstanceData

from mmdet_dab.data.drawing import draw_box, draw_name
from mmdet_dab.errors import UserError, plural
from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Example, Material, highest

TITLE = 'The images on which the detector fails most'
WORST, COLUMNS = 6, 2
#: Of an image, in inches.
WIDTH = 1.95
#: IoU from which a box of the right class has found an object.
OVERLAP = 0.5


@dataclass(frozen=True)
class Judged:
    """An image with what was found in it.

    Attributes:
        example: with ground truth.
        found: detections with ``bboxes`` x1 y1 x2 y2, ``labels``, ``scores``, best first.
        missed: (T,) bool, objects that no detection found.
        false: (D,) bool, detections that found no object.
    """

    example: Example
    found: InstanceData
    missed: torch.Tensor
    false: torch.Tensor

    @property
    def errors(self) -> int:
        """Missed objects and false alarms together."""
        return int(self.missed.sum() + self.false.sum())


def draw(material: Material) -> Figure:
    """Ground truth and detections of the worst images, side by side.

    Raises:
        UserError: no checkpoint, or no ground truth.
    """
    if not material.subjects[0].trained:
        raise UserError('figure 12 shows errors of a detector: name a checkpoint')
    worst = worst_cases(material.subjects[0].model, material.examples(material.limit), material.threshold)
    rows = -(-len(worst) // COLUMNS)
    ratio = highest([case.example for case in worst])
    figure, cells = style.panels(rows, 2 * COLUMNS, WIDTH, WIDTH * ratio + 0.4)
    for cell in (cell for row in cells for cell in row):
        cell.axis('off')
    classes = material.subjects[0].classes
    for index, judged in enumerate(worst):
        truth, found = cells[index // COLUMNS][2 * (index % COLUMNS) :][:2]
        _draw_pair(truth, found, judged, classes)
    return figure


def worst_cases(model: Any, examples: Sequence[Example], threshold: float, number: int = WORST) -> list[Judged]:
    """The images with most errors, worst first.

    Raises:
        UserError: the images have no ground truth.
    """
    if any(example.ground_truth is None for example in examples):
        raise UserError('figure 12 compares with ground truth: name a COCO file with --annotations')
    judged = []
    for count, example in enumerate(examples, start=1):
        found = inference_detector(model, example.source).pred_instances.cpu()
        judged.append(judge(example, found[found.scores >= threshold]))
        if sys.stderr.isatty():
            print(f'\rworst cases: {count:,} of {plural(len(examples), "image")}', end='', file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return sorted(judged, key=lambda case: case.errors, reverse=True)[:number]


def judge(example: Example, found: InstanceData) -> Judged:
    """Match detections to objects of their class, best score first, each object once."""
    objects: Any = example.ground_truth
    found = found[found.scores.argsort(descending=True)]
    missed = torch.ones(len(objects), dtype=torch.bool)
    false = torch.ones(len(found), dtype=torch.bool)
    overlaps = bbox_overlaps(get_box_tensor(found.bboxes).float(), objects.bboxes.float())
    overlaps = overlaps.where(found.labels[:, None] == objects.labels, -1)
    for index, row in enumerate(overlaps):
        free = row.where(missed, -1)
        if len(free) and free.max() >= OVERLAP:
            missed[free.argmax()] = False
            false[index] = False
    return Judged(example, found, missed, false)


def _draw_pair(truth: Axes, found: Axes, judged: Judged, classes: Sequence[str]) -> None:
    for axes in (truth, found):
        axes.imshow(judged.example.pixels, interpolation='bilinear')
    objects: Any = judged.example.ground_truth
    _draw_boxes(truth, objects.bboxes, objects.labels, judged.missed, classes, judged)
    _draw_boxes(found, get_box_tensor(judged.found.bboxes), judged.found.labels, judged.false, classes, judged)
    name = style.folded(judged.example.name, 0.85 * WIDTH, lines=1)
    truth.set_title(f'{name}\nobjects: {int(judged.missed.sum()):,} missed', fontsize=style.SMALL, parse_math=False)
    found.set_title(f'\ndetections: {plural(int(judged.false.sum()), "false alarm")}', fontsize=style.SMALL)


def _draw_boxes(axes: Axes, boxes: Any, labels: Any, wrong: Any, classes: Sequence[str], judged: Judged) -> None:
    height, width = judged.example.pixels.shape[:2]
    drawn = zip(boxes.tolist(), labels.tolist(), wrong.tolist(), strict=True)
    for (x1, y1, x2, y2), label, is_wrong in sorted(drawn, key=itemgetter(2)):  # errors are on top
        box, colour = (x1, y1, x2 - x1, y2 - y1), style.ORANGE if is_wrong else style.BLUE
        draw_box(axes, box, colour, '--' if is_wrong else '-')
        draw_name(axes, classes[label] if label < len(classes) else f'class {label}', box, colour, height, 6)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
