"""Boxes and names on an image, for all figures that show some."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mmdet_dab.errors import shortened

#: Of a name, as a fraction of the image's height; it stands inside of a box that begins higher.
NAME_HEIGHT = 0.05


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
