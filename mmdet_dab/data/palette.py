"""Colours of classes, for drawing."""

from __future__ import annotations

import colorsys

#: Colours that are told apart on most images; more are made as they are needed.
COLOURS = (
    (230, 60, 60),
    (60, 100, 230),
    (240, 180, 40),
    (40, 180, 90),
    (170, 70, 200),
    (30, 190, 200),
    (240, 120, 40),
    (230, 90, 170),
)


def palette(number: int) -> list[tuple[int, int, int]]:
    """As many colours (RGB, 0..255) as there are classes."""
    colours = list(COLOURS[:number])
    while len(colours) < number:
        hue = len(colours) * 0.618034 % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (len(colours) % 2), 0.9)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours
