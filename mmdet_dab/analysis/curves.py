"""Curves of training runs, side by side: losses by layer, AP, learning rate, drift of the anchors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mmdet_dab.analysis.scalars import TrainingLog
from mmdet_dab.data.drawing import new_figure

#: Colours of runs that colour-blind people tell apart (Okabe and Ito, 2008), and markers for more.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
LINES = ('-', '--', ':', '-.')
#: Of the lines of a run's two quantities in one panel.
WIDTHS = (1.6, 0.8)
#: More runs than these get no panel of their own for the layers.
MOST_LAYER_PANELS = 3
#: Of the steps: what the table and the panel of layers call the end of a run.
END = 0.1
COLUMNS = 3
#: What ``AnchorDriftHook`` logs.
DRIFT = {'anchor_drift_xy': 'centre', 'anchor_drift_wh': 'size'}
METRIC = 'coco/bbox_mAP'


def draw_curves(paths: Sequence[Path], logs: Sequence[TrainingLog], metric: str = METRIC) -> None:
    """Draw the runs into one figure, a panel for each quantity that one of them logged.

    Args:
        paths: of the files to write; their suffixes say the formats.
        logs: the runs; names tell them apart.
        metric: key of the validated metric.
    """
    panels = _panels(logs, metric)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, cells = new_figure(rows, columns, (2.7 * columns, 2.3 * rows + 0.3))
    for cell, draw in zip(cells.flat, panels, strict=False):
        draw(cell)
        cell.grid(alpha=0.3)
        cell.tick_params(labelsize=7)
        cell.spines[['top', 'right']].set_visible(False)
    for cell in list(cells.flat)[len(panels) :]:
        cell.axis('off')
    if len(logs) > 1:
        lines = [Line2D([], [], **_style(index)) for index in range(len(logs))]
        names = [log.name for log in logs]
        legend = figure.legend(
            lines, names, loc='outside upper center', ncols=min(len(logs), 4), frameon=False, fontsize=9
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a dollar sign is a dollar sign
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)


def _panels(logs: Sequence[TrainingLog], metric: str) -> list[Callable[[Axes], None]]:
    """What is drawn, in order; a quantity that no run logged has no panel."""
    panels: list[Callable[[Axes], None]] = []

    def add(title: str, keys: Sequence[str], **options: bool) -> None:
        if any(log.curve(key)[0] for log in logs for key in keys):
            panels.append(lambda axes: _draw_over_steps(axes, logs, title, keys, **options))

    add('loss', ['loss'], from_zero=True)
    add(metric, [metric], from_zero=True, marked=True)
    if any(len(log.layer_losses()) > 1 for log in logs):
        panels.append(lambda axes: _draw_end_by_layer(axes, logs))
        panels.extend(_layer_panel(log, len(logs) > 1) for log in logs[:MOST_LAYER_PANELS] if log.layer_losses())
    add('learning rate', ['lr'], from_zero=True)
    add('drift of the anchors', list(DRIFT), from_zero=True)
    return panels


def _style(index: int) -> dict[str, Any]:
    """Colour and line of a run."""
    return dict(color=COLOURS[index % len(COLOURS)], linestyle=LINES[index // len(COLOURS) % len(LINES)])


def _draw_over_steps(
    axes: Axes,
    logs: Sequence[TrainingLog],
    title: str,
    keys: Sequence[str],
    from_zero: bool = False,
    marked: bool = False,
) -> None:
    for index, log in enumerate(logs):
        for width, key in zip(WIDTHS, keys, strict=False):
            steps, values = log.curve(key)
            axes.plot(steps, values, **_style(index), linewidth=width, marker='o' if marked else None, markersize=3)
    if len(keys) > 1:
        lines = [Line2D([], [], color='black', linewidth=width) for width in WIDTHS]
        axes.legend(lines, [DRIFT.get(key, key) for key in keys], fontsize=7, frameon=False)
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel('step', fontsize=8)
    if from_zero:
        axes.set_ylim(bottom=0)


def _draw_end_by_layer(axes: Axes, logs: Sequence[TrainingLog]) -> None:
    """One line for each run: the mean loss of every decoder layer at the end."""
    for index, log in enumerate(logs):
        ends = {layer: end_of(steps, values) for layer, (steps, values) in log.layer_losses().items()}
        axes.plot([layer + 1 for layer in ends], list(ends.values()), **_style(index), marker='o', markersize=4)
    axes.set_title(f'loss by layer, last {END:.0%}', fontsize=9)
    axes.set_xlabel('decoder layer', fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _layer_panel(log: TrainingLog, named: bool) -> Callable[[Axes], None]:
    """The losses of a run's decoder layers over its steps."""

    def draw(axes: Axes) -> None:
        curves = log.layer_losses()
        shades = colormaps['viridis_r']
        for layer, (steps, values) in curves.items():
            shade = shades(0.1 + 0.9 * layer / max(1, max(curves)))
            axes.plot(steps, values, color=shade, linewidth=1.2, label=f'layer {layer + 1}')
        axes.set_title(f'loss by layer{f": {log.name}" if named else ""}', fontsize=9, parse_math=False)
        axes.set_xlabel('step', fontsize=8)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7, frameon=False)

    return draw


def end_of(steps: Sequence[int], values: Sequence[float]) -> float:
    """The mean of what was logged in the last tenth of the steps, and of the last value at least."""
    if not steps:
        return math.nan
    chosen = [value for step, value in zip(steps, values, strict=True) if step > (1 - END) * steps[-1]]
    return sum(chosen) / len(chosen)


def table(logs: Sequence[TrainingLog], metric: str = METRIC) -> str:
    """The runs in a table for the terminal: steps, starts, loss, metric, seconds, learning rate."""
    rows = [('run', 'steps', 'starts', 'loss', f'best {metric}', 'at step', 'last', 's/step', 'lr')]
    for log in logs:
        steps, values = log.curve(metric)
        finite = [pair for pair in zip(values, steps, strict=True) if math.isfinite(pair[0])]
        best, at = max(finite, default=(math.nan, None))
        rates, seconds = log.curve('lr')[1], sorted(log.curve('time')[1])
        rows.append(
            (
                log.name,
                f'{max((entry["step"] for entry in (*log.steps, *log.validations)), default=0):,}',
                str(log.starts),
                _number(end_of(*log.curve('loss')), '.3f'),
                _number(best, '.3f'),
                '' if at is None else f'{at:,}',
                _number(values[-1] if values else math.nan, '.3f'),
                _number(seconds[len(seconds) // 2] if seconds else math.nan, '.3f'),
                _number(rates[-1] if rates else math.nan, '.2g'),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return '\n'.join(lines)


def _number(value: float, form: str) -> str:
    return '–' if math.isnan(value) else format(value, form)
