"""Drawings that a classifier of ImageNet names: its weights are right where it does."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

SIDE = 224
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def _sheet(colour: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new('RGB', (SIDE, SIDE), colour)
    return image, ImageDraw.Draw(image)


def crossword() -> Image.Image:
    """Boxes, a fifth of them black."""
    image, draw = _sheet(WHITE)
    black = np.random.default_rng(0).random((13, 13)) < 0.22
    for column in range(13):
        for row in range(13):
            x, y = 8 + 16 * column, 8 + 16 * row
            draw.rectangle([x, y, x + 16, y + 16], fill=BLACK if black[column, row] else WHITE, outline=BLACK)
    return image


def clock() -> Image.Image:
    """A dial with twelve marks and two hands."""
    image, draw = _sheet((200, 180, 150))
    draw.ellipse([22, 22, 202, 202], fill=(250, 250, 250), outline=(40, 30, 20), width=10)
    for hour in range(12):
        x, y = math.sin(hour * math.pi / 6), -math.cos(hour * math.pi / 6)
        draw.line([112 + 70 * x, 112 + 70 * y, 112 + 82 * x, 112 + 82 * y], fill=BLACK, width=4)
    draw.line([112, 112, 150, 80], fill=BLACK, width=6)
    draw.line([112, 112, 100, 45], fill=BLACK, width=4)
    return image


def honeycomb() -> Image.Image:
    """Brown hexagons on gold."""
    image, draw = _sheet((230, 170, 40))
    radius = 13
    for column in range(-1, 12):
        for row in range(-1, 14):
            x, y = radius * (1.75 * column + 0.875 * (row % 2)), radius * 1.5 * row
            corners = [
                (x + 0.85 * radius * math.sin(k * math.pi / 3), y + 0.85 * radius * math.cos(k * math.pi / 3))
                for k in range(6)
            ]
            draw.polygon(corners, fill=(120, 70, 10), outline=(250, 210, 90))
    return image


def wire_mesh() -> Image.Image:
    """Thin grey lines, crossing."""
    image, draw = _sheet((240, 240, 240))
    for k in range(0, 230, 10):
        draw.line([k, 0, k, SIDE], fill=(90, 90, 90))
        draw.line([0, k, SIDE, k], fill=(90, 90, 90))
    return image


def ruler() -> Image.Image:
    """A yellow bar with marks of three lengths."""
    image, draw = _sheet((200, 180, 140))
    draw.rectangle([10, 90, 214, 134], fill=(240, 220, 120), outline=(80, 60, 20), width=2)
    for k in range(41):
        length = 22 if k % 10 == 0 else 14 if k % 5 == 0 else 9
        draw.line([12 + 5 * k, 90, 12 + 5 * k, 90 + length], fill=BLACK)
    return image


def oscilloscope() -> Image.Image:
    """A green wave on a dark screen with a grid."""
    image, draw = _sheet((30, 30, 30))
    draw.rectangle([20, 20, 204, 150], fill=(10, 40, 20))
    draw.line([(24 + k, 85 + 45 * math.sin(k / 12)) for k in range(176)], fill=(60, 255, 90), width=2)
    for k in range(8):
        draw.line([20 + 23 * k, 20, 20 + 23 * k, 150], fill=(40, 90, 50))
        draw.line([20, 20 + 16 * k, 204, 20 + 16 * k], fill=(40, 90, 50))
    return image


#: Drawings, and the labels of ImageNet that are right for them.
DRAWINGS = {
    crossword: {918},  # crossword puzzle
    clock: {409, 892},  # analog clock, wall clock
    honeycomb: {599},
    wire_mesh: {904},  # window screen
    ruler: {769},  # rule, ruler
    oscilloscope: {688},
}
