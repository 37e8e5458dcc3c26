"""Charts of numbers from 0 to 1 as SVG: lines, and bars behind them.

Drawn here and not by matplotlib, because a page in dark mode needs charts that follow it: colours
are classes of the style sheet in templates/chart.css. Lines differ by colour (Okabe and Ito's) and
by dashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from markupsafe import Markup

#: Pixels: of the drawing, and around the area of the curves.
WIDTH, HEIGHT = 340, 236
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 10, 36
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
#: Of a line of the legend, and of a letter, in pixels.
LINE, LETTER = 17, 6.6
STYLE = (resources.files(__package__) / 'templates' / 'chart.css').read_text(encoding='utf-8')


@dataclass(frozen=True)
class Line:
    """A curve. NaN leaves a gap.

    Attributes:
        name: in the legend; '' for none.
        x, y: (N,) float, 0 to 1.
        style: 0 to 3, or 'thin' for a line of reference.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    style: int | str = 0


@dataclass(frozen=True)
class Mark:
    """A vertical line at ``x``, with its name."""

    name: str
    x: float


def chart(
    lines: Sequence[Line],
    x: str,
    y: str,
    title: str,
    bars: Sequence[tuple[float, float, float]] = (),
    mark: Mark | None = None,
) -> Markup:
    """An ``<svg>`` element.

    Args:
        lines: curves, drawn in order.
        x, y: what the axes show.
        title: what a screen reader says.
        bars: left end, right end and height of each.
        mark: a value of x to point at.
    """
    named = [line for line in lines if line.name]
    rows = _legend_rows(named)
    height = HEIGHT + LINE * len(rows)
    parts = [
        *_axes(x, y),
        *(_bar(*bar) for bar in bars),
        *(part for line in lines for part in _path(line)),
        *([] if mark is None else _mark(mark)),
        *(part for number, row in enumerate(rows) for part in _legend(row, HEIGHT + LINE * number + 8)),
    ]
    return Markup(
        '<svg class="chart" xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" '
        'role="img"><title>{2}</title>{3}</svg>'
    ).format(WIDTH, height, title, Markup('').join(parts))


def standalone(svg: Markup) -> str:
    """The same as the content of a file, with its style sheet and an own background."""
    head, tail = str(svg).split('<title>', 1)
    return f'{head}<style>{STYLE}</style><rect class="ground" width="100%" height="100%"/><title>{tail}'


def _at(x: float, y: float) -> tuple[float, float]:
    """Pixels of a point."""
    return (
        round(LEFT + x * (WIDTH - LEFT - RIGHT), 1),
        round(TOP + (1 - y) * (HEIGHT - TOP - BOTTOM), 1),
    )


def _axes(x: str, y: str) -> list[Markup]:
    parts = []
    for tick in TICKS:
        left, level = _at(0, tick)
        right, _ = _at(1, tick)
        place, floor = _at(tick, 0)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(left, level, right))
        parts.append(_text(f'{tick:g}', left - 5, level + 4, 'end'))
        parts.append(_text(f'{tick:g}', place, floor + 15, 'middle'))
    middle, floor = _at(0.5, 0)
    _, centre = _at(0, 0.5)
    parts.append(_text(x, middle, floor + 31, 'middle'))
    parts.append(
        Markup('<text class="label" text-anchor="middle" transform="translate(10 {}) rotate(-90)">{}</text>').format(
            centre, y
        )
    )
    return parts


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _bar(start: float, end: float, height: float) -> Markup:
    left, top = _at(start, height)
    right, floor = _at(end, 0)
    return Markup('<rect class="bar" x="{}" y="{}" width="{}" height="{}"/>').format(
        left + 1, top, round(right - left - 2, 1), round(floor - top, 1)
    )


def _path(line: Line) -> list[Markup]:
    pen, steps = 'M', []
    for x, y in zip(np.asarray(line.x, dtype=float).tolist(), np.asarray(line.y, dtype=float).tolist(), strict=True):
        if np.isfinite(x) and np.isfinite(y):
            steps.append('{}{} {}'.format(pen, *_at(x, y)))
            pen = 'L'
        else:
            pen = 'M'
    return [Markup('<path class="line s{}" d="{}"/>').format(line.style, ''.join(steps))] if steps else []


def _mark(mark: Mark) -> list[Markup]:
    x, floor = _at(mark.x, 0)
    _, top = _at(mark.x, 1)
    side, anchor = (-4, 'end') if mark.x > 0.5 else (4, 'start')
    return [
        Markup('<path class="mark" d="M{} {}V{}"/>').format(x, floor, top),
        Markup('<text class="label strong" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            x + side, floor - 6, anchor, mark.name
        ),
    ]


def _legend_rows(lines: Sequence[Line]) -> list[list[tuple[float, Line]]]:
    """Entries with their places, in as many rows as they need."""
    rows: list[list[tuple[float, Line]]] = []
    place = float(WIDTH)
    for line in lines:
        width = 34 + LETTER * len(line.name)
        if place + width > WIDTH or not rows:
            rows.append([])
            place = float(LEFT)
        rows[-1].append((place, line))
        place += width
    return rows


def _legend(row: Sequence[tuple[float, Line]], y: float) -> list[Markup]:
    parts = []
    for place, line in row:
        parts.append(Markup('<path class="line s{}" d="M{} {}h20"/>').format(line.style, place, y))
        parts.append(_text(line.name, place + 25, y + 4, 'start'))
    return parts
