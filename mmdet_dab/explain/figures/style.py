"""What all figures share: colours that colour-blind people tell apart, maps, boxes, files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from torch import Tensor

from mmdet_dab.data.drawing import new_figure
from mmdet_dab.errors import shortened

#: Darker is more attention, as in the paper; one hue, so that lightness alone says how much.
ATTENTION = 'Blues'
#: Of Okabe and Ito (2008): anchors and errors, what is right, what is neither.
ORANGE, BLUE, GREEN, GREY = '#D55E00', '#0072B2', '#009E73', '#666666'
#: Files of a figure.
ENDINGS = ('png', 'svg')
TEXT, SMALL = 10, 8


def panels(rows: int, columns: int, width: float = 2.3, height: float = 2.3) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` by ``columns`` axes; sizes of one of them in inches."""
    # Labels of many lines turn out a little wider than the layout foresees: a margin on the left.
    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.04, rect=(0.015, 0, 0.985, 1))
    figure, cells = new_figure(rows, columns, (width * columns + 0.3, height * rows + 0.1), layout)
    return figure, [list(row) for row in cells]


def draw_map(axes: Axes, attention: Tensor, ratio: float = 1.0) -> None:
    """A map (H, W) over the unit square of an image, drawn ``ratio`` times as high as wide.

    Each map has its own scale: the darkest cell has most attention.
    """
    axes.imshow(attention.numpy(), cmap=ATTENTION, vmin=0, extent=(0, 1, 1, 0), interpolation='nearest')
    axes.set_aspect(ratio)
    axes.autoscale(False)  # an anchor may reach beyond the image
    axes.set_xticks([])
    axes.set_yticks([])


def draw_anchor(axes: Axes, anchor: Sequence[float], style: str = '-') -> None:
    """The box of an anchor cx cy w h in parts of the image, or its point cx cy."""
    x, y, *size = anchor
    if size:
        w, h = size
        corner = (x - w / 2, y - h / 2)
        axes.add_patch(Rectangle(corner, w, h, fill=False, edgecolor=ORANGE, linewidth=1.6, linestyle=style))
    axes.plot([x], [y], marker='+', color=ORANGE, markersize=7, markeredgewidth=1.6)


def name_row(axes: Axes, *names: str) -> None:
    """What a row shows, at its first axes: a line for each name, more for one that is longer than
    the row is high."""
    grid = axes.get_gridspec()
    assert grid is not None
    inches = 0.85 * axes.figure.bbox.height / axes.figure.dpi / grid.nrows
    axes.set_ylabel('\n'.join(folded(name, inches) for name in names), fontsize=SMALL, parse_math=False)


def folded(name: str, inches: float, lines: int = 3) -> str:
    """A name in small letters, in lines of this length: broken between words, and cut off after the
    last line."""
    width = max(8, int(inches * 72 / (0.6 * SMALL)))  # a letter is 0.6 as wide as high, on average
    folds = ['']
    for word in re.findall(rf'[^-_. ]{{1,{width - 1}}}[-_. ]?|[-_. ]', name):
        if len(folds[-1] + word) > width:
            folds.append('')
        folds[-1] += word
    if len(folds) > lines:
        folds[lines - 1] = shortened(''.join(folds[lines - 1 :]), width)
    return '\n'.join(folds[:lines])


def save(figure: Figure, folder: Path, number: int) -> list[Path]:
    """Write a figure of the paper; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f'figure_{number}.{ending}' for ending in ENDINGS]
    for file in files:
        figure.savefig(file, dpi=130)
    return files
