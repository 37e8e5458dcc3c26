"""A case of a gallery as two small images: what was detected, and beside it the ground truth."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mmdet_dab.analysis.report.gallery import Case
from mmdet_dab.analysis.report.inputs import Detections, GroundTruth

#: Longer side of a tile in pixels, and quality of its JPEG.
SIDE, QUALITY = 240, 80
#: A tile shows this many times the box, but no less than so many pixels of the image.
CONTEXT, SMALLEST = 2.6, 120
#: Okabe and Ito's orange and sky blue, which colour-blind people tell apart.
DETECTED, ANNOTATED, EDGE = (230, 159, 0), (86, 180, 233), (0, 0, 0)
#: Other boxes on a tile, at most.
MOST_BOXES = 60

#: Gives an image by its row, RGB, or None where it cannot be read.
Loader = Callable[[int], Image.Image | None]


@dataclass(frozen=True)
class Tile:
    """Two JPEGs of one size, and the case they show."""

    case: Case
    detected: bytes
    annotated: bytes


def draw(cases: Sequence[Case], load: Loader, found: Detections, gt: GroundTruth, threshold: float) -> list[Tile]:
    """Draw the cases whose image can be read.

    Args:
        cases: of one gallery.
        load: gives the images.
        found: the detections.
        gt: the ground truth.
        threshold: detections with lower scores are not drawn, but for that of the case.
    """
    tiles = []
    for case in cases:
        image = load(case.image)
        if image is not None:
            tiles.append(_tile(case, image, found, gt, threshold))
    return tiles


def _tile(case: Case, image: Image.Image, found: Detections, gt: GroundTruth, threshold: float) -> Tile:
    shown = np.flatnonzero((found.image == case.image) & (found.scores >= threshold))
    shown = shown[np.argsort(-found.scores[shown], kind='stable')][:MOST_BOXES]
    objects = np.flatnonzero(gt.image == case.image)[:MOST_BOXES]
    window = _window(case, image, found, gt)
    return Tile(
        case,
        _jpeg(image, window, found.boxes, shown.tolist(), case.detection, DETECTED),
        _jpeg(image, window, gt.boxes, objects.tolist(), case.target, ANNOTATED),
    )


def _window(case: Case, image: Image.Image, found: Detections, gt: GroundTruth) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of the part of the image that is shown: around both boxes, within it."""
    boxes = [found.boxes[case.detection]] if case.detection is not None else []
    boxes += [gt.boxes[case.target]] if case.target is not None else []
    corners = np.array([(*box[:2], *(box[:2] + box[2:])) for box in boxes])
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    limits = np.array(image.size, dtype=float)
    size = np.minimum(np.maximum(CONTEXT * (high - low).max(), SMALLEST), limits)
    start = np.clip((low + high) / 2 - size / 2, 0, limits - size)
    (x1, y1), (x2, y2) = start.tolist(), np.minimum(start + size, limits).tolist()
    return x1, y1, x2, y2


def _jpeg(
    image: Image.Image,
    window: tuple[float, float, float, float],
    boxes: np.ndarray,
    others: Sequence[int],
    chosen: int | None,
    colour: tuple[int, int, int],
) -> bytes:
    x1, y1, x2, y2 = window
    factor = SIDE / max(x2 - x1, y2 - y1)
    size = max(1, round((x2 - x1) * factor)), max(1, round((y2 - y1) * factor))
    tile = image.resize(size, Image.Resampling.BILINEAR, box=window)
    pen = ImageDraw.Draw(tile)
    for index in [*(other for other in others if other != chosen), *([] if chosen is None else [chosen])]:
        corner, extent = boxes[index, :2], boxes[index, 2:]
        ends = np.concatenate([corner, corner + extent]) - (x1, y1, x1, y1)
        left, top, right, bottom = np.clip(factor * ends, -SIDE, 2 * SIDE).tolist()
        if right < 0 or bottom < 0 or left > size[0] or top > size[1]:
            continue
        corners = (left, top, max(right, left + 1), max(bottom, top + 1))
        thick = index == chosen
        pen.rectangle(corners, outline=EDGE, width=6 if thick else 3)
        inner = tuple(value + shift for value, shift in zip(corners, (1, 1, -1, -1), strict=True))
        if inner[2] > inner[0] and inner[3] > inner[1]:
            pen.rectangle(inner, outline=colour, width=4 if thick else 2)
    target = io.BytesIO()
    tile.save(target, 'JPEG', quality=QUALITY)
    return target.getvalue()
