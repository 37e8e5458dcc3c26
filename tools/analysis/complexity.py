"""Count parameters and multiply-adds by part: ``python tools/analysis/complexity.py CONFIG``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmdet_dab  # noqa: F401  (makes mmdet importable without a compiled mmcv)

# isort: split
from mmdet_dab import cli
from mmdet_dab.analysis import building, complexity

HEIGHT, WIDTH = complexity.MEAN_SIZE


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Count the parameters and multiply-adds of a detector, part by part and with attention. '
        'How, and how that compares with the paper, is told in mmdet_dab/analysis/complexity.py.'
    )
    cli.add_config_arguments(parser)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        '--shape',
        nargs=2,
        type=int,
        default=complexity.MEAN_SIZE,
        metavar=('H', 'W'),
        help=f'size of the picture in pixels; default: {HEIGHT} {WIDTH}, which has the mean area of the pictures that '
        'papers count at',
    )
    size.add_argument(
        '--first-100',
        action='store_true',
        help='the mean over these pictures themselves, the first 100 of COCO val2017 resized to 800; takes a minute',
    )
    parser.add_argument('--json', metavar='FILE', help='also write the exact numbers to this file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    height, width = args.shape
    if min(height, width) < 1:
        raise cli.UsageError(f'--shape {height} {width}: give a height and a width of at least 1 pixel')
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise cli.UsageError(f'--json {args.json}: there is no folder {Path(args.json).parent}: create it first')
    model = building.build_detector(building.load_config(args.config, args.cfg_options))
    sizes = complexity.FIRST_100_PICTURES if args.first_100 else {(height, width): 1}
    try:
        counts = complexity.count(model, sizes)
    except RuntimeError as error:
        raise cli.UsageError(f'the detector of {args.config} cannot run on {height}×{width} pixels: {error}') from error
    table = complexity.tabulate(model, counts)
    pictures = 'the first 100 pictures of COCO val2017 (mean)' if args.first_100 else f'{height}×{width} pixels'
    print(f'{args.config}, {pictures}\n\n{complexity.format_table(table)}\n')
    print(notes(table, counts))
    if args.json:
        report = {'config': args.config, 'pictures': pictures, 'device': counts.device, **dataclasses.asdict(table)}
        Path(args.json).write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


def notes(table: complexity.Row, counts: complexity.Counts) -> str:
    """How the figures were made, for those who compare them with others."""
    tensors = 'tensors without content' if counts.device == 'meta' else 'a black picture, on the CPU'
    return (
        'Counted: one multiply-add per product in convolutions, matrix products and attention (QKᵀ and AV), 5 per\n'
        f'bilinear sample, by running the detector on {tensors}. Not counted: norms, activations,\n'
        'softmax, sine codes, sums. Parameters: frozen ones as well; buffers are none.\n'
        f'Without the products of attention it would be {(table.multiply_adds - table.attention) / 1e9:.3f} G: '
        'counters that do not know fused\n'
        "attention, such as mmdet's get_flops.py, leave them out."
    )


if __name__ == '__main__':
    cli.run(main)
