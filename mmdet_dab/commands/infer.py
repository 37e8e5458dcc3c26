"""Draw the predictions of a detector on images, and write them as JSON."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config, read_arrays_or_files
from mmdet_dab.console import say
from mmdet_dab.errors import UserError, plural

#: Endings of image files, in small letters.
ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', nargs='+', help='images, folders of images, or patterns such as "shots/*.png"')
    arguments.add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file; the class names in it are the ones drawn')
    parser.add_argument(
        '--out-dir', default='outputs', help='folder: images go to its vis/, boxes as JSON to its preds/'
    )
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score that is drawn')
    parser.add_argument('--batch-size', type=int, default=1, help='images in one forward pass')
    parser.add_argument('--device', help='such as cuda:0 or cpu; default: a GPU where there is one')
    arguments.add_optimize(parser)


def run(args: argparse.Namespace) -> None:
    images = find_images(args.images)
    say(f'infer {plural(len(images), "image")} with {args.config}')
    if args.batch_size < 1:
        raise UserError(f'--batch-size {args.batch_size}: give at least 1')
    draft = draft_config(args.config, args.cfg_options)
    preflight.check_file(args.checkpoint)
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    preflight.check_checkpoint(args.checkpoint)
    read_arrays_or_files(cfg)
    import torch

    from mmdet_dab.inferencer import FileInferencer
    from mmdet_dab.optimize import optimize_for_inference

    inferencer = FileInferencer(cfg, args.checkpoint, args.device)
    if args.optimize:
        optimize_for_inference(inferencer.model, getattr(torch, args.optimize))
    folder = Path(args.out_dir)
    for done in inferencer.write(images, folder, args.batch_size, args.score_thr):
        if sys.stderr.isatty():
            print(f'\r{done:,} of {plural(len(images), "image")}', end='', file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f'{plural(len(images), "image")} → {folder / "vis"}, {folder / "preds"}')


def find_images(given: Sequence[str]) -> list[str]:
    """The files that are meant: as given, all images of a folder, or what a pattern matches.

    Raises:
        UserError: one of ``given`` names no image, or two images would be written to the same file.
    """
    found: list[Path] = []
    for text in given:
        path = Path(text)
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if is_image(file))
            if not files:
                raise UserError(f'folder {text} holds no image ({", ".join(ENDINGS)}): name another folder')
            found += files
        elif path.exists():
            found.append(path)
        elif files := sorted(Path(match) for match in glob.glob(text, recursive=True) if is_image(Path(match))):
            found += files
        else:
            raise UserError(f'{text} does not exist: name an image, a folder of images or a pattern')
    by_name: dict[str, Path] = {}
    for file in dict.fromkeys(found):
        other = by_name.setdefault(file.name, file)
        if other is not file:
            raise UserError(
                f'{other} and {file} would both be written to vis/{file.name}: '
                'run them apart, each with its own --out-dir'
            )
    return [str(file) for file in by_name.values()]


def is_image(file: Path) -> bool:
    """By its ending, in any case.

    The hidden ``._x.jpg`` that macOS leaves beside ``x.jpg`` is none.
    """
    return file.suffix.lower() in ENDINGS and not file.name.startswith('.')
