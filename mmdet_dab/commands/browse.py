"""Draw what a training run is fed: augmented images with their boxes, as the model gets them.

The images come from the data loader of the config and went through its pipeline, its batches and
the model's preprocessor. They are drawn with the normalisation undone and the padding hatched.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import ConfigError, UserError, plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument('--n', type=int, default=16, metavar='N', help='how many images are drawn (default: 16)')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train', help='default: train')
    parser.add_argument('--seed', type=int, default=0, help='of the order and the augmentation (default: 0)')
    parser.add_argument(
        '--out', type=Path, default=Path('browse'), metavar='DIR', help='folder for the sheet and the single images'
    )


def run(args: argparse.Namespace) -> None:
    if args.n < 1:
        raise UserError(f'--n {args.n}: give at least 1')
    draft = draft_config(args.config, args.cfg_options)
    if not draft.cfg.get(f'{args.split}_dataloader'):
        raise ConfigError(f'config {draft.cfg.filename} has no {args.split}_dataloader: choose another --split')
    preflight.check_data(draft.cfg, args.split)
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    from mmdet_dab.analysis.browsing import draw_image, draw_sheet, fed_images

    fed = []
    for number, image in enumerate(fed_images(cfg, args.split, args.n, args.seed)):
        fed.append(image)
        draw_image(args.out / f'{number:03}_{image.stem}.png', image)
        if sys.stderr.isatty():
            print(f'\r{number + 1:,} of {plural(args.n, "image")}', end='', file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    draw_sheet(args.out / 'sheet.png', fed)
    objects = sum(len(image.labels) for image in fed)
    print(f'{plural(len(fed), "image")} with {plural(objects, "object")} → {args.out}; all on {args.out / "sheet.png"}')
