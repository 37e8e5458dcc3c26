"""Redraw figures of the paper, from a detector of yours or from the formulas.

4 positional attention of three DETRs, 6 modulation by width and height, 7 temperature, 10 learned
points and boxes, 11 boxes layer by layer, 12 worst cases. Each is written as PNG and SVG.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import DataError, UserError, listed
from mmdet_dab.media_files import find_images

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmdet_dab.explain.figures.material import Example, Material, Subject
    from mmdet_dab.models.positional_encoder import SinePositionalEncoder

NUMBERS = (4, 6, 7, 10, 11, 12)
#: Those that say something without weights.
FROM_FORMULAS = (4, 6, 7, 10)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='weights; without them figures 4, 6, 7 and 10 show the start')
    parser.add_argument('--out', type=Path, default=Path('figures'), metavar='DIR', help='folder (default: figures)')
    parser.add_argument('--only', type=numbers, default=None, metavar='4,6,…', help='figures to draw (default: all)')
    parser.add_argument('--images', nargs='+', default=[], metavar='FILE', help="default: the config's test dataset")
    parser.add_argument('--annotations', type=Path, metavar='FILE', help="ground truth of --images, in COCO's format")
    parser.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another detector to draw beside this one, such as Conditional DETR; may be repeated',
    )
    parser.add_argument('--layer', type=int, default=0, help='decoder layer of the maps, from 1 (default: the last)')
    parser.add_argument(
        '--score-thr', type=arguments.score, default=0.3, help='lowest score of a detection (default: 0.3)'
    )
    parser.add_argument('--limit', type=int, default=200, help='images to judge for figure 12 (default: 200)')


def numbers(text: str) -> list[int]:
    """``4,6`` -> the numbers of figures."""
    found = [int(part) if part.strip().isdigit() else -1 for part in text.split(',')]
    if not set(found) <= set(NUMBERS):
        raise argparse.ArgumentTypeError(f'{text}: figures are {listed(NUMBERS)}')
    return found


def run(args: argparse.Namespace) -> int:
    chosen = args.only or (NUMBERS if args.checkpoint else FROM_FORMULAS)
    pairs = [(args.config, args.checkpoint), *map(tuple, args.beside)]
    drafts = [draft_config(name, args.cfg_options if index == 0 else {}) for index, (name, _) in enumerate(pairs)]
    for _, checkpoint in pairs:
        if checkpoint:
            preflight.check_file(checkpoint)
    if args.limit < 1 or args.layer < 0:
        raise UserError(f'--limit {args.limit}, --layer {args.layer}: give at least 1')
    if args.annotations and not args.annotations.is_file():
        raise DataError(f'--annotations {args.annotations} does not exist')
    if args.annotations and not args.images:
        raise UserError('--annotations: name its images with --images')
    images = find_images(args.images) if args.images else []
    if args.checkpoint and not args.images and set(chosen) - {7, 10}:
        preflight.check_data(drafts[0].cfg, 'test')
    say('loading PyTorch and MMDetection …')
    subjects = [
        subject(name, draft.finish(), checkpoint) for (name, checkpoint), draft in zip(pairs, drafts, strict=True)
    ]
    from mmdet_dab.explain.figures.material import Material, examples_from

    examples: Iterator[Example] = examples_from(drafts[0].cfg, images, args.annotations, subjects[0].classes)
    material = Material(subjects, encoder_of(subjects[0]), examples, args.layer - 1, args.score_thr, args.limit)
    return draw(material, chosen, args.out)


def subject(name: str, cfg: Config, checkpoint: str | None) -> Subject:
    """The detector of a config, with weights if there are any."""
    from mmdet_dab.config import build
    from mmdet_dab.explain.figures.material import Subject

    return Subject(Path(name).stem, build(cfg, checkpoint), checkpoint is not None)


def encoder_of(first: Subject) -> SinePositionalEncoder:
    """The positional encoder of a detector, or that of the paper where it has none of our kind."""
    from mmdet_dab.models.positional_encoder import SinePositionalEncoder

    encoder = getattr(first.model, 'positional_encoder', None)
    if isinstance(encoder, SinePositionalEncoder):
        return encoder
    say(f'{first.name} has no SinePositionalEncoder: maps from the formula have that of the paper, T = 20')
    return SinePositionalEncoder()


def draw(material: Material, chosen: Sequence[int], folder: Path) -> int:
    """Draw figures; one that cannot be drawn leaves a message and the others go on."""
    from mmdet_dab.explain.figures import FIGURES, style

    failed: list[UserError] = []
    for number in chosen:
        try:
            figure = FIGURES[number].draw(material)
        except UserError as error:
            if len(chosen) == 1:
                raise
            say(f'error: {error}')
            failed.append(error)
            continue
        files = style.save(figure, folder, number)
        print(f'figure {number:2}  {listed(files)}  {FIGURES[number].TITLE}')
    return int(bool(failed))
