"""Count the parameters and multiply-adds of a detector, part by part and with attention.

How, and how that compares with the paper, is told in mmdet_dab/analysis/complexity.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab.commands import arguments
from mmdet_dab.config import build_detector, draft_config
from mmdet_dab.errors import UserError
from mmdet_dab.regular_files import check_output

if TYPE_CHECKING:
    from mmdet_dab.analysis.complexity import Counts, Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='size of the image in pixels; default: the mean area of the images that papers count at',
    )
    size.add_argument(
        '--first-100',
        action='store_true',
        help='the mean over these images themselves, the first 100 of COCO val2017 resized to 800; takes a minute',
    )
    parser.add_argument('--json', metavar='FILE', help='also write the exact numbers to this file')


def run(args: argparse.Namespace) -> None:
    if args.shape and min(args.shape) < 1:
        raise UserError(f'--shape {args.shape[0]} {args.shape[1]}: give a height and a width of at least 1 pixel')
    if args.json:
        check_output(args.json, '--json')
    cfg = draft_config(args.config, args.cfg_options).finish()
    from mmdet_dab.analysis import complexity

    height, width = args.shape or complexity.MEAN_SIZE
    model = build_detector(cfg)
    sizes = complexity.FIRST_100_IMAGES if args.first_100 else {(height, width): 1}
    try:
        counts = complexity.count(model, sizes)
    except RuntimeError as error:
        raise UserError(f'the detector of {args.config} cannot run on {height}×{width} pixels: {error}') from error
    table = complexity.tabulate(model, counts)
    images = 'the first 100 images of COCO val2017 (mean)' if args.first_100 else f'{height}×{width} pixels'
    print(f'{args.config}, {images}\n\n{complexity.format_table(table)}\n')
    print(notes(table, counts))
    if args.json:
        report = {'config': args.config, 'images': images, 'device': counts.device, **dataclasses.asdict(table)}
        Path(args.json).write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


def notes(table: Row, counts: Counts) -> str:
    """How the figures were made, for those who compare them with others."""
    tensors = 'tensors without content' if counts.device == 'meta' else 'a black image, on the CPU'
    return (
        'Counted: one multiply-add per product in convolutions, matrix products and attention (QKᵀ and AV), 5 per\n'
        f'bilinear sample, by running the detector on {tensors}. Not counted: norms, activations,\n'
        'softmax, sine codes, sums. Parameters: frozen ones are included, buffers are not.\n'
        f'Without the products of attention it would be {(table.multiply_adds - table.attention) / 1e9:.3f} G: '
        'counters that do not know fused\n'
        "attention, such as mmdet's get_flops.py, leave them out."
    )
