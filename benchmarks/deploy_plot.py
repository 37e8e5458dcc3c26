"""Draw the tables of ``benchmarks.deploy`` in docs/exported_speed.md: ``python -m
benchmarks.deploy_plot``.
"""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from benchmarks.deploy import PAGE
from benchmarks.plot import rows_of
from benchmarks.side_by_side import ROOT

IMAGE = ROOT / 'docs' / 'images' / 'deploy.png'
TABLES = ('deploy-r50', 'deploy-small')
#: The tone says the precision.
COLOURS = {'float32': '#9ecae1', 'bfloat16': '#4292c6', 'int8': '#084594'}


def draw(axes: Any, name: str) -> None:
    """A bar for each form, with its speed and AP; above it, hatched, the floor by matrix rates."""
    rows = rows_of(name, PAGE)
    title = next(iter(rows[0]))
    factor = next(column for column in rows[0] if column.startswith('faster'))
    for place, row in enumerate(rows):
        precision = row[title].rpartition(', ')[2]
        ms, share = float(row['ms']), float(row['of the matrix rate'].rstrip('%')) / 100
        axes.barh(place, ms, color=COLOURS[precision])
        axes.barh(place, ms * share, color='none', edgecolor='white', hatch='////', linewidth=0)
        ap = '' if row['AP'] == '—' else f', AP {row["AP"]}'
        axes.text(ms, place, f' {ms:.4g} ms, {row[factor]}{ap}', va='center', fontsize=8)
    axes.set_yticks(range(len(rows)), [row[title] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.5)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f'ms of a prediction; hatched: its floor; ×: {factor}')


def main() -> None:
    figure, both = plt.subplots(1, 2, figsize=(14, 5), layout='constrained')
    for axes, name in zip(both, TABLES, strict=True):
        draw(axes, name)
    figure.savefig(IMAGE, dpi=110)
    print(f'wrote {IMAGE}')


if __name__ == '__main__':
    main()
