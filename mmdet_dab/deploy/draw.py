"""Detections on an image, with names and scores that can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmdet_dab.deploy.detections import Detections
from mmdet_dab.errors import UserError, shortened

#: An image whose shorter side is much smaller, in pixels, is drawn enlarged; its longer side to
#: this size at most.
SHORTEST_SIDE, LONGEST_SIDE = 320, 4096
#: Pixels of an image that is drawn as large as it is, those of the largest screens ("8K"). Drawing
#: takes several times the memory of the image.
MOST_DRAWN = 7680 * 4320


def draw(image: np.ndarray, found: Detections, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Draw boxes with names and scores, the best on top.

    Args:
        image: (H, W, 3) uint8 BGR.
        found: boxes in pixels of the image.
        palette: (r, g, b) of each class.

    Returns:
        (H, W, 3) uint8 BGR, a new one.
    """
    canvas = Image.fromarray(image[..., ::-1])
    pen = ImageDraw.Draw(canvas)
    size = max(10, min(image.shape[:2]) // 36)
    font, line = ImageFont.load_default(size), max(2, size // 8)
    for index in reversed(range(len(found))):
        colour = tuple(palette[found.labels[index]])
        left, top, right, bottom = found.boxes[index].tolist()
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        text = f'{shortened(" ".join(found.names[index].split()))} {found.scores[index]:.2f}'
        # A label stays within the image.
        start = max(0, min(left, image.shape[1] - pen.textlength(text, font=font) - 1))
        box = pen.textbbox((start, max(0, top - size - 2 * line)), text, font=font)
        pen.rectangle(box, fill=colour)
        pen.text(box[:2], text, font=font, fill=_readable_on(colour), anchor='lt')
    return np.asarray(canvas)[..., ::-1].copy()


def for_screen(image: np.ndarray, found: Detections) -> tuple[np.ndarray, Detections]:
    """An image in a size to look at: a small one in a multiple of its size, so that the labels
    leave some of it to see, a huge one in a part of it.

    Args:
        image: (H, W, 3) uint8.
        found: boxes in pixels of the image.

    Returns:
        both in the new size; as they are where that is one to look at.
    """
    height, width = image.shape[:2]
    enlarged_by = max(1, round(SHORTEST_SIDE / min(height, width)))
    # Also of a strip of a few pixels no more than a screen can show.
    enlarged_by = max(1, min(enlarged_by, LONGEST_SIDE // max(height, width)))
    reduced_by = min(math.ceil(math.sqrt(height * width / MOST_DRAWN)), height, width)
    if reduced_by > 1:
        return _reduced(image, reduced_by), replace(found, boxes=found.boxes / np.float32(reduced_by))
    if enlarged_by == 1:
        return image, found
    larger = Image.fromarray(image).resize((width * enlarged_by, height * enlarged_by), Image.Resampling.BICUBIC)
    return np.asarray(larger), replace(found, boxes=found.boxes * np.float32(enlarged_by))


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """The mean of ``factor`` × ``factor`` pixels each, row by row: Pillow would need room for
    another image of the old size.
    """
    height, width = image.shape[0] // factor, image.shape[1] // factor
    small = np.empty((height, width, 3), np.uint8)
    for number, row in enumerate(small):
        pixels = image[number * factor : (number + 1) * factor, : width * factor]
        row[:] = np.rint(pixels.reshape(factor, width, factor, 3).mean(axis=(0, 2)))
    return small


def _readable_on(colour: tuple[int, ...]) -> str:
    """Black on bright colours, white on dark ones (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return 'black' if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else 'white'


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 BGR by the ending of the path.

    Raises:
        UserError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # At its usual level, compressing a PNG takes longer than finding the objects.
        Image.fromarray(image[..., ::-1]).save(path, compress_level=1)
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be written ({error}).') from error
