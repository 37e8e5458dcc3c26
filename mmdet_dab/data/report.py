"""What was seen of a dataset, as text for the terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.data.statistics import Resizing, Statistics

#: Classes that have a row of their own; of more, the rarest and the commonest are shown.
MOST_CLASSES = 20


def table(splits: dict[str, Statistics], classes: Sequence[str], resizing: Resizing, stride: int) -> str:
    """Rows of numbers, a column for each split.

    Args:
        splits: by name, such as ``train`` and ``val``.
        classes: by label.
        resizing: of the training run.
        stride: of the model's feature map, pixels.
    """
    rows: list[tuple[str, list[str]]] = [('', list(splits))]

    def row(label: str, *cells: str) -> None:
        rows.append((label, list(cells)))

    statistics = list(splits.values())
    row('images', *(f'{len(one.sizes):,}' for one in statistics))
    row('  without objects', *(f'{(one.counts == 0).sum():,}' for one in statistics))
    row('  median size', *('{}×{}'.format(*one.typical_size()) for one in statistics))
    row('  longer side', *(_span(one.sizes.max(axis=1), 'px') for one in statistics))
    row('objects', *(f'{len(one.objects):,}' for one in statistics))
    row('  on an image, median and most', *(f'{np.median(one.counts):.0f}, {one.counts.max()}' for one in statistics))
    if any(one.ignored for one in statistics):
        row('  crowds and difficult ones, ignored', *(f'{one.ignored:,}' for one in statistics))
    row('of a class, on how many images', *('' for _ in statistics))
    for label in _shown(statistics[0]):
        cells = [f'{one.per_class[label]:,} on {one.images_per_class[label]:,}' for one in statistics]
        row(f'  {classes[label]}', *cells)
    if len(classes) > MOST_CLASSES:
        row(f'  … {len(classes) - MOST_CLASSES} more classes', *('' for _ in statistics))
    row('√area of an object, 5 %, 50 %, 95 %', *(_quantiles(one.object_sizes()) for one in statistics))
    row(
        f'  in an image of {"×".join(map(str, resizing.scale))}',
        *(_quantiles(one.object_sizes(resizing)) for one in statistics),
    )
    shares = [(one.object_sizes(resizing) < stride).mean() if len(one.objects) else 0 for one in statistics]
    row(f'  smaller there than the stride, {stride} px', *(f'{share:.1%}' for share in shares))
    return _aligned(rows)


def _shown(train: Statistics) -> list[int]:
    order = np.argsort(-train.per_class, kind='stable').tolist()
    if len(order) <= MOST_CLASSES:
        return list(range(len(order)))
    return order[: MOST_CLASSES // 2] + order[-MOST_CLASSES // 2 :]


def _span(values: np.ndarray, unit: str) -> str:
    low, high = values.min(), values.max()
    return f'{low:.0f} {unit}' if low == high else f'{low:.0f} to {high:.0f} {unit}'


def _quantiles(values: np.ndarray) -> str:
    if not len(values):
        return '–'
    return ', '.join(f'{value:.0f}' for value in np.quantile(values, [0.05, 0.5, 0.95])) + ' px'


def _aligned(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    first = max(len(label) for label, _ in rows)
    widths = [max(len(cells[column]) for _, cells in rows) for column in range(len(rows[0][1]))]
    lines = [
        f'{label:<{first}}  ' + '  '.join(f'{cell:>{width}}' for cell, width in zip(cells, widths, strict=True))
        for label, cells in rows
    ]
    return '\n'.join(line.rstrip() for line in lines)


def findings_text(findings: Sequence[Finding]) -> str:
    """Errors first, a line each."""
    ordered = sorted(findings, key=lambda finding: not finding.stops)
    return '\n'.join(f'{"ERROR  " if finding.stops else "warning"}  {finding}' for finding in ordered)


def printable(text: str) -> str:
    """The same with escapes for what no terminal can write, such as bytes in file names."""
    return text.encode('utf-8', 'backslashreplace').decode()
