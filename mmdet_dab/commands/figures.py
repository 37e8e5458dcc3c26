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
from mmdet_dab.regular_files import check_file

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmdet_dab.explain.figures.material import Example, Material, Subject
    from mmdet_dab.models.positional_encoder import SinePositionalEncoder

NUMBERS = (4, 6, 7, 10, 11, 12)
#: Those that need no image, and those that show one decoder layer.
WITHOUT_IMAGES, OF_A_LAYER = (7, 10), (4, 6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='weights; without them figures 4, 6, 7 and 10 show the start')
    parser.add_argument('--out', type=Path, default=Path('figures'), metavar='DIR', help='folder (default: figures)')
    parser.add_argument('--only', type=numbers, default=None, metavar='4,6,…', help='figures to draw (default: all)')
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='FILE',
        help="or folders of images; default: the config's test dataset",
    )
    parser.add_argument('--annotations', type=Path, metavar='FILE', help="ground truth of --images, in COCO's format")
    parser.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another detector to draw beside this one, such as Conditional DETR; may be repeated',
    )
    parser.add_argument('--layer', type=int, help='decoder layer of the maps, from 1 (default: the last)')
    parser.add_argument(
        '--score-thr', type=arguments.score, default=0.3, help='lowest score of a detection (default: 0.3)'
    )
    parser.add_argument('--limit', type=int, default=200, help='images to judge for figure 12 (default: 200)')


def numbers(text: str) -> list[int]:
    """``4,6`` -> the numbers of figures."""
    found = [int(part) if part.strip().isdigit() else -1 for part in text.split(',')]
    if not set(found) <= set(NUMBERS):
        raise argparse.ArgumentTypeError(f'{text}: figures are {listed(NUMBERS)}')
    return list(dict.fromkeys(found))


def run(args: argparse.Namespace) -> int:
    pairs = [(args.config, args.checkpoint), *map(tuple, args.beside)]
    trained = any(checkpoint for _, checkpoint in pairs)
    chosen = figures_of(args, trained)
    drafts = [draft_config(name, args.cfg_options if index == 0 else {}) for index, (name, _) in enumerate(pairs)]
    for _, checkpoint in pairs:
        if checkpoint:
            preflight.check_file(checkpoint)
    images = check_images(args)
    check_folder(args.out)
    of_dataset = not images and trained and bool(set(chosen) - set(WITHOUT_IMAGES))
    if of_dataset:
        preflight.check_data(drafts[0].cfg, 'test')
    say('loading PyTorch and MMDetection …')
    subjects = [
        subject(name, draft.finish(), checkpoint) for (name, checkpoint), draft in zip(pairs, drafts, strict=True)
    ]
    from mmdet_dab.explain.figures.material import Material, examples_of_dataset, examples_of_files

    examples: Iterator[Example] = iter(())
    if images:
        examples = examples_of_files(images, args.annotations, subjects[0].classes)
    elif of_dataset:
        examples = examples_of_dataset(drafts[0].cfg)
    layer = -1 if args.layer is None else args.layer - 1
    material = Material(subjects, encoder_of(subjects[0]), examples, layer, args.score_thr, args.limit)
    if set(chosen) & set(OF_A_LAYER):
        for one in material.trained:
            material.layer_of(one.model)
    return draw(material, chosen, args.out)


def figures_of(args: argparse.Namespace, trained: bool) -> Sequence[int]:
    """The figures that are asked for: all that the arguments allow, where none are named.

    Args:
        args: of the command.
        trained: there is a checkpoint, of this detector or of one beside it.

    Raises:
        UserError: one that is named cannot be drawn.
    """
    if args.limit < 1:
        raise UserError(f'--limit {args.limit}: give at least 1')
    if args.layer is not None and args.layer < 1:
        raise UserError(f'--layer {args.layer}: decoder layers count from 1')
    if args.annotations and not args.images:
        raise UserError('--annotations: name its images with --images')
    missing = {}
    if not trained:
        missing[11] = 'shows what a detector learned: name a checkpoint'
    if not args.checkpoint:
        missing[12] = 'shows errors of a detector: name a checkpoint'
    elif args.images and not args.annotations:
        missing[12] = 'compares with ground truth: name a COCO file with --annotations'
    for number in args.only or ():
        if number in missing:
            raise UserError(f'figure {number} {missing[number]}')
    if args.only is None and args.checkpoint:
        for number, reason in missing.items():
            say(f'figure {number} is left out, which {reason}')
    return args.only or [number for number in NUMBERS if number not in missing]


def check_images(args: argparse.Namespace) -> list[str]:
    """The files of ``--images``, each an image.

    Raises:
        DataError: one of them is none; the annotations are no file.
    """
    images = find_images(args.images) if args.images else []
    if args.annotations:
        check_file(args.annotations, '--annotations', DataError)
    if images:
        from mmdet_dab.data.images import read_header

        for image in images:
            problem = read_header(Path(image)).problem
            if problem:
                raise DataError(f'--images {image} {problem}: leave it out, or copy it again')
    return images


def check_folder(folder: Path) -> None:
    """Refuse an output folder that cannot be one, without creating it.

    Raises:
        UserError: there is a file of this name, or on the way to it.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f'--out {folder}: {there} is a file. Name another folder.')


def subject(name: str, cfg: Config, checkpoint: str | None) -> Subject:
    """The detector of a config, with weights if there are any."""
    from mmdet_dab.config import build
    from mmdet_dab.explain.answers import check_queries
    from mmdet_dab.explain.figures.material import Subject

    model = build(cfg, checkpoint)
    check_queries(model)
    return Subject(Path(name).stem, model, checkpoint is not None)


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
