"""Figures: detections beside the ground truth, and the curve of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use('Agg')  # no window is opened, and none is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mmdet.structures import DetDataSample


def draw_detections(
    path: Path,
    images: Sequence[np.ndarray],
    samples: Sequence[DetDataSample],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    score_threshold: float = 0.3,
    columns: int = 3,
) -> None:
    """Draw ground truth (left) and prediction (right) of every image, with names and scores.

    Args:
        path: of the image to write; its suffix says the format.
        images: uint8 (H, W, 3), RGB.
        samples: with ``gt_instances`` and ``pred_instances``, boxes x1 y1 x2 y2 in pixels of
            ``images``.
        classes: names, by label.
        palette: RGB in 0..255, by label.
        score_threshold: predictions below it are left out.
        columns: pairs in a row.
    """
    rows = math.ceil(len(images) / columns)
    figure, axes = pyplot.subplots(rows, 2 * columns, figsize=(6.4 * columns, 3.4 * rows), squeeze=False)
    for cell in axes.flat:
        cell.axis('off')
    for index, (image, sample) in enumerate(zip(images, samples, strict=True)):
        left, right = axes[index // columns, 2 * (index % columns) :][:2]
        truth, found = sample.gt_instances, sample.pred_instances
        found = found[found.scores >= score_threshold]
        texts = [f'{classes[label]} {score:.2f}' for label, score in zip(found.labels, found.scores, strict=True)]
        _draw_boxes(left, image, truth, [classes[label] for label in truth.labels], palette)
        _draw_boxes(right, image, found, texts, palette)
        if index < columns:
            left.set_title('ground truth', fontsize=12)
            right.set_title(f'prediction (score ≥ {score_threshold:g})', fontsize=12)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_boxes(
    axes: Axes, image: np.ndarray, instances: Any, texts: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> None:
    axes.imshow(image, interpolation='bicubic')
    boxes = instances.bboxes
    boxes = boxes.tensor if hasattr(boxes, 'tensor') else boxes
    for (x1, y1, x2, y2), label, text in zip(boxes.tolist(), instances.labels.tolist(), texts, strict=True):
        colour = tuple(channel / 255 for channel in palette[label])
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor='white', linewidth=2.6))
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.4))
        background = dict(facecolor=colour, edgecolor='none', pad=0.8)
        # Above the box, or in it where the image ends above.
        above = y1 > 0.06 * image.shape[0]
        place = 'bottom' if above else 'top'
        axes.text(max(x1, 0), max(y1, 0), text, fontsize=9, color='white', va=place, bbox=background, clip_on=True)


def read_scalars(work_dir: Path) -> list[dict[str, Any]]:
    """What the Runner logged in a work directory, over all its starts, by step; a later start wins.

    Raises:
        FileNotFoundError: nothing was logged there.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{work_dir} has no */vis_data/scalars.json: was a training logged there?')
    entries: dict[tuple[bool, int], dict[str, Any]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            entries['loss' in entry, int(entry['step'])] = entry
    return [entries[key] for key in sorted(entries)]


def draw_curve(path: Path, scalars: Sequence[dict[str, Any]], metric: str = 'coco/bbox_mAP') -> None:
    """Draw the loss and the validated metric over the training's steps.

    Args:
        path: of the image to write.
        scalars: as :func:`read_scalars` gives them.
        metric: key of the metric.
    """
    losses = [(entry['step'], entry['loss']) for entry in scalars if 'loss' in entry]
    values = [(entry['step'], entry[metric]) for entry in scalars if metric in entry]
    figure, left = pyplot.subplots(figsize=(7, 4))
    left.plot(*zip(*losses, strict=True), color='tab:blue')
    left.set_xlabel('step')
    left.set_ylabel('loss', color='tab:blue')
    left.set_ylim(bottom=0)
    right = left.twinx()
    if values:
        right.plot(*zip(*values, strict=True), color='tab:orange', marker='o')
    right.set_ylabel(metric, color='tab:orange')
    right.set_ylim(0, 1)
    left.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
