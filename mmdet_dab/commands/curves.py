"""Compare training runs: losses by layer, AP, learning rate, drift of the anchors.

Reads what the Runner logged in the work directories, over all starts of a run, also while it
trains. Draws one figure, as PNG and SVG, and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab.console import say
from mmdet_dab.errors import DataError, UserError, listed, plural

if TYPE_CHECKING:
    from mmdet_dab.analysis.scalars import TrainingLog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='work directories of training runs')
    parser.add_argument(
        '--out', type=Path, default=Path('curves'), help='files, without their endings (default: curves)'
    )
    parser.add_argument('--metric', default='coco/bbox_mAP', help='the validated number to compare')


def run(args: argparse.Namespace) -> int:
    logs = read_logs(args.work_dirs)
    from mmdet_dab.analysis.curves import draw_curves, table

    if not any(log.curve(args.metric)[0] for log in logs):
        others = sorted({name for log in logs for name in log.metrics()})
        say(f'warning: no run logged --metric {args.metric}; logged were: {listed(others) or "no validations"}')
    files = [args.out.with_name(f'{args.out.name}.{ending}') for ending in ('png', 'svg')]
    draw_curves(files, logs, args.metric)
    print(table(logs, args.metric))
    print(f'\ncurves  {listed(files)}')
    return len(logs) < len(args.work_dirs)


def read_logs(names: Sequence[str]) -> list[TrainingLog]:
    """The logs that can be read; a message for each of the others.

    Raises:
        UserError: none can be read.
    """
    from mmdet_dab.analysis.scalars import read_log

    logs: dict[str, TrainingLog] = {}
    for name in dict.fromkeys(names):
        try:
            logs[name] = log = read_log(name)
        except DataError as error:
            if len(names) == 1:
                raise
            say(f'error: {error}')
            continue
        if log.unreadable:
            lines = plural(len(log.unreadable), 'line')
            say(f'warning: {name}: {lines} cannot be read and were left out: {listed(log.unreadable, 3)}')
    if not logs:
        raise UserError(f'curves: none of the {len(names)} folders holds the log of a training run')
    short = [log.name for log in logs.values()]
    return [replace(log, name=name) if short.count(log.name) > 1 else log for name, log in logs.items()]
