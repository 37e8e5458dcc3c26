"""A figure of what the other benchmarks measured: ``python -m benchmarks.plot``."""

from __future__ import annotations

import json
import statistics
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from benchmarks.growth import LOSSES, Point, growth
from benchmarks.side_by_side import RESULTS, ROOT

IMAGE = ROOT / 'docs' / 'images' / 'performance.png'
SPEED = {
    'predict-r50': 'prediction, R50',
    'predict-r50-dc5': 'prediction, R50-DC5',
    'train-r50': 'training step, R50',
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
    'ours, channels-last': '#74c476',
    'ours, channels-last, recomputing': '#238b45',
}


def results(name: str, command: str) -> dict[str, Any]:
    """The figures that a benchmark kept.

    Raises:
        SystemExit: it has not run.
    """
    path = RESULTS / f'{name}.json'
    if not path.is_file():
        raise SystemExit(f'error: {path} is missing: run `python -m benchmarks.{command}` first')
    return json.loads(path.read_text())


def ratios(name: str) -> dict[str, float]:
    """Candidate -> how many times as fast as the first, mmdet's."""
    found = results(name, 'matching' if name == 'matching' else 'speed')['results']
    base, *others = ((result['name'], statistics.median(result['seconds'])) for result in found)
    return {other: base[1] / seconds for other, seconds in others}


def draw_ratios(axes: Any) -> None:
    """A group of bars for each task."""
    names, row, middles, seen = list(SPEED), 0.0, [], set()
    for name in names:
        found = ratios(name)
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


def draw_growth(axes: Any) -> None:
    """Time over arithmetic, in parts of the first point."""
    for title, kept in results('growth', 'growth')['sweeps'].items():
        if title == LOSSES:
            continue  # far below its bound; the table has it
        points = [Point(**point) for point in kept]
        x = [point.value / points[0].value for point in points]
        axes.plot(x, growth(points), marker='o', label=f'{title}: {points[0].value} … {points[-1].value}')
    axes.axhline(1, color='black', linestyle=':', label='in proportion to the arithmetic')
    axes.set_xscale('log')
    axes.set_ylim(0.5, 1.3)
    axes.set_xlabel('n, in multiples of the first')
    axes.set_ylabel('time for each unit of arithmetic, of the first')
    axes.legend(fontsize=8, loc='lower left')


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.8), layout='constrained')
    draw_ratios(left)
    draw_growth(right)
    figure.savefig(IMAGE, dpi=110)
    print(f'wrote {IMAGE}')


if __name__ == '__main__':
    main()
