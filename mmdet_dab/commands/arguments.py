"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from typing import Any

from mmdet_dab.errors import UserError
from mmdet_dab.overrides import parse_value


class Overrides(argparse.Action):
    """Collects ``KEY=VALUE`` into a dict, with the values that mmengine reads."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for text in values:
            key, separator, value = text.partition('=')
            if not separator or not key:
                parser.error(f'{option} {text}: write KEY=VALUE')
            options[key] = parse_value(value)
        setattr(namespace, self.dest, options)


def finite(text: str) -> float:
    """A number of the command line: ``nan`` would compare with nothing, and show all or none.

    Raises:
        argparse.ArgumentTypeError: it is none, or not finite.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f'{text}: give a finite number')
    return number


def score(text: str) -> float:
    """A score of the command line, from which on something counts: above 1 nothing ever would.

    Raises:
        argparse.ArgumentTypeError: it is not in 0 to 1.
    """
    number = finite(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f'{text}: a score is in 0 to 1')
    return number


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'config',
        help='config: a file, the name of one of ours such as dab_detr_r50_50e, or mmdet::path of one of mmdet',
    )
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Overrides,
        default={},
        metavar='KEY=VALUE',
        help='values to override in the config, e.g. train_dataloader.batch_size=4; '
        'data_root=DIR moves every path of the config that lies in its data root',
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    """Arguments of the commands that build a Runner."""
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints; default: work_dirs/ and the name of the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument(
        '--no-data-checks',
        action='store_true',
        help='start without checking the classes, ids and boxes of the annotations',
    )
    parser.add_argument(
        '--check-only', action='store_true', help='check config, data and checkpoint, and stop before work starts'
    )


#: Of files of results; what writes them is in ``mmdet_dab.deploy.results``.
FORMATS = ('json', 'csv', 'coco')


def add_media(parser: argparse.ArgumentParser) -> None:
    """Arguments of the commands that detect in images and videos."""
    parser.add_argument(
        'images', nargs='+', help='images, videos, folders with their sub-folders, or patterns such as "shots/*.png"'
    )
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images in one run (default: 1)')
    parser.add_argument(
        '--codec', default='mp4v', metavar='FOUR', help='four letters of the codec of videos (default: mp4v)'
    )


def check_media(args: argparse.Namespace) -> None:
    """Refuse values before work starts.

    Raises:
        UserError: a batch of no images.
    """
    if args.batch_size < 1:
        raise UserError(f'--batch-size {args.batch_size}: give at least 1.')


def add_optimize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--optimize',
        nargs='?',
        const='float32',
        choices=['float32', 'bfloat16', 'float16'],
        help='fold batch norm and store images channels-last, which is faster; the value is the precision of the '
        'backbone, and float32 keeps the predictions as they are',
    )
