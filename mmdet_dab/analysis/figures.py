"""Detections beside the ground truth, as one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from mmdet.structures import DetDataSample

from mmdet_dab.data.drawing import draw_box, draw_name, new_figure


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
    figure, axes = new_figure(rows, 2 * columns, (6.4 * columns, 3.4 * rows), layout=None)
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


def _draw_boxes(
    axes: Axes, image: np.ndarray, instances: Any, texts: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> None:
    axes.imshow(image, interpolation='bicubic')
    boxes = instances.bboxes
    boxes = boxes.tensor if hasattr(boxes, 'tensor') else boxes
    for (x1, y1, x2, y2), label, text in zip(boxes.tolist(), instances.labels.tolist(), texts, strict=True):
        colour = tuple(channel / 255 for channel in palette[label])
        box = (x1, y1, x2 - x1, y2 - y1)
        draw_box(axes, box, colour)
        draw_name(axes, text, box, colour, image.shape[0], 9)
