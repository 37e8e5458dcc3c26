"""Draw the tables of a page such as docs/performance.md as a figure, at the end of
``benchmarks.speed --publish``.

What is drawn is read from the page, so that figure and tables cannot differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from benchmarks.growth import LOSSES

SPEED = {
    'predict-r50': 'prediction, R50',
    'predict-r50-dc5': 'prediction, R50-DC5',
    'test-r50': 'whole test, R50',
    'train-r50-batch-1': 'training step, R50',
    'train-r50': 'training step, R50, batch 2',
    'train-r50-dc5': 'training step, R50-DC5',
    'matching': 'matching + losses',
}
#: A colour for each candidate, so that it has the same in every group.
COLOURS = {
    'Hugging Face': '#b0b0b0',
    'mmdet, our assigner': '#d8c28a',
    'ours': '#9ecae1',
    'ours, optimised': '#4292c6',
    'ours, optimised, bfloat16': '#084594',
    'ours, bfloat16': '#084594',
    'ours, recomputing': '#74c476',
}


def rows_of(name: str, page: Path) -> list[dict[str, str]]:
    """The table between the marks of a benchmark in a page: a dict per row, by the titles of the
    columns; none where it was not measured yet.

    Raises:
        SystemExit: the page has no such table.
    """
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    content = page.read_text()
    if begin not in content or end not in content:
        raise SystemExit(f'error: {page} has no table {name}: run the benchmark with --publish first')
    text = content.split(begin)[1].split(end)[0]
    lines = [line for line in text.splitlines() if line.startswith('|')]
    if not lines:
        return []
    titles, _, *rows = [[cell.strip(' *') for cell in line.strip('|').split('|')] for line in lines]
    return [dict(zip(titles, row, strict=True)) for row in rows]


def ratios(name: str, page: Path) -> dict[str, float]:
    """Candidate -> how many times as fast as the first, mmdet's."""
    rows = rows_of(name, page)[1:]
    return {next(iter(row.values())): float(row['faster than mmdet'].split()[0]) for row in rows}


def draw_ratios(axes: Any, page: Path) -> None:
    """A group of bars for each task."""
    names, row, middles, seen = [name for name in SPEED if rows_of(name, page)], 0.0, [], set()
    for name in names:
        found = ratios(name, page)
        middles.append(row + (len(found) - 1) / 2)
        for candidate, ratio in found.items():
            label = None if candidate in seen else candidate
            seen.add(candidate)
            axes.barh(row, ratio, color=COLOURS[candidate], label=label)
            axes.text(ratio + 0.05, row, f'{ratio:.2f}', va='center', fontsize=8)
            row += 1
        row += 0.8
    axes.axvline(1, color='black', linewidth=1)
    axes.set_yticks(middles, [SPEED[name] for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("times as fast as mmdet's DAB-DETR (line: mmdet)")
    axes.legend(fontsize=8, loc='upper center', bbox_to_anchor=(0.4, -0.1), ncols=3)


def draw_growth(axes: Any, page: Path) -> None:
    """Time over arithmetic, relative to the first point."""
    sweeps: dict[str, list[tuple[float, float]]] = {}
    for row in rows_of('growth', page):
        if row['what'] and row['what'] != LOSSES:  # the losses are far below their bound; the table has them
            sweeps.setdefault(row['what'], []).append((float(row['n']), float(row['of the first'])))
    for title, points in sweeps.items():
        numbers, values = zip(*points, strict=True)
        x = [number / numbers[0] for number in numbers]
        axes.plot(x, values, marker='o', label=f'{title}: {numbers[0]:.0f} … {numbers[-1]:.0f}')
    axes.axhline(1, color='black', linestyle=':', label='in proportion to the arithmetic')
    axes.set_xscale('log')
    axes.set_ylim(0.5, 1.3)
    axes.set_xlabel('n, in multiples of the first')
    axes.set_ylabel('time per unit of arithmetic, relative to the first')
    axes.legend(fontsize=8, loc='lower left')


def draw(page: Path) -> Path:
    """The figure of a page, ``images/NAME.png`` beside it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 7), layout='constrained')
    draw_ratios(left, page)
    draw_growth(right, page)
    image = page.parent / 'images' / f'{page.stem}.png'
    image.parent.mkdir(exist_ok=True)
    figure.savefig(image, dpi=110)
    return image
