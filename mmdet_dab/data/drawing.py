"""What figures share: their axes, their files, and boxes and names on an image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.patches import Rectangle

from mmdet_dab.errors import shortened

#: Of a name, as a fraction of the image's height; it stands inside of a box that begins higher.
NAME_HEIGHT = 0.05


def new_figure(
    rows: int,
    columns: int,
    size: tuple[float, float],
    layout: Literal['constrained'] | LayoutEngine | None = 'constrained',
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes.

    It is none of pyplot's, which would choose the windows of the whole process.

    Args:
        rows, columns: of axes.
        size: width and height, in inches.
        layout: how matplotlib places them.

    Returns:
        the figure, and an array (rows, columns) of axes.
    """
    figure = Figure(size, layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: Path, dpi: int = 100) -> None:
    """Write a figure that shows names; the suffix of ``path`` says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph')  # the font lacks it: a box in its place
        figure.savefig(path, dpi=dpi)


def draw_box(
    axes: Axes, box: Sequence[float], colour: str | tuple[float, ...], style: str = '-', width: float = 1.4
) -> None:
    """Draw a box over a white edge, which is seen on every image.

    Args:
        axes: show the image.
        box: x y w h in pixels.
        colour: of the box.
        style: of its line, as matplotlib names it.
        width: of its line, in points.
    """
    x, y, w, h = box
    for edge, line in (('white', width + 1), (colour, width)):
        axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=edge, linewidth=line, linestyle=style))


def draw_name(
    axes: Axes, name: str, box: Sequence[float], colour: str | tuple[float, ...], height: float, size: float
) -> None:
    """Write a name above its box, or into it where the image ends above.

    Args:
        axes: show the image.
        name: of its class; a dollar sign is a dollar sign.
        box: x y w h in pixels.
        colour: behind the name.
        height: of the image in pixels.
        size: of the font, in points.
    """
    above = box[1] > NAME_HEIGHT * height
    axes.text(
        max(box[0], 0),
        max(box[1], 0),
        shortened(name),
        fontsize=size,
        color='white',
        va='bottom' if above else 'top',
        clip_on=True,
        bbox=dict(facecolor=colour, edgecolor='none', pad=0.8),
        parse_math=False,
    )
