"""Detections on an image, with names and scores that can be read."""

from __future__ import annotations

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


def enlarged(image: np.ndarray, found: Detections) -> tuple[np.ndarray, Detections]:
    """A small image in a multiple of its size, so that the labels leave some of it to see.

    Args:
        image: (H, W, 3) uint8.
        found: boxes in pixels of the image.

    Returns:
        both in the new size; as they are where the image is large enough.
    """
    factor = max(1, round(SHORTEST_SIDE / min(image.shape[:2])))
    # Also of a strip of a few pixels no more than a screen can show.
    factor = max(1, min(factor, LONGEST_SIDE // max(image.shape[:2])))
    if factor == 1:
        return image, found
    size = (image.shape[1] * factor, image.shape[0] * factor)
    larger = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(larger), replace(found, boxes=found.boxes * np.float32(factor))


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
