"""Detect objects in images and videos with a checkpoint.

Draws the boxes into DIR/vis, and writes all boxes into DIR/preds, a JSON file for every image; with
--format also as one file. What cannot be read is named, the others are done, and the exit code
is 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config, read_arrays_or_files
from mmdet_dab.console import say
from mmdet_dab.errors import CheckpointError, UserError, plural
from mmdet_dab.media_files import find_media
from mmdet_dab.released import RELEASED, find_released


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        'mmdet-dab infer IMAGE... CONFIG CHECKPOINT [options]\n       mmdet-dab infer IMAGE... --model NAME [options]'
    )
    arguments.add_media(parser)
    parser.add_argument_group(
        'the detector',
        'CONFIG: a file, the name of one of ours such as dab_detr_r50_50e, or mmdet::path of one of mmdet. '
        'CHECKPOINT: a file, or hf://OWNER/REPOSITORY; the class names in it are the ones drawn.',
    ).add_argument(
        '--model',
        metavar='NAME',
        help=f'instead of both: a released detector ({", ".join(RELEASED)}), or hf://OWNER/REPOSITORY',
    )
    arguments.add_overrides(parser)
    parser.add_argument(
        '--out-dir', type=Path, default=Path('outputs'), metavar='DIR', help='folder to write to (default: outputs)'
    )
    parser.add_argument('--score-thr', type=arguments.score, default=0.3, help='lowest score that is drawn')
    parser.add_argument('--format', choices=arguments.FORMATS, help='write all boxes into one file as well')
    parser.add_argument('--device', help='cpu, cuda or cuda:N; default: a GPU where there is one')
    arguments.add_optimize(parser)


def run(args: argparse.Namespace) -> int:
    arguments.check_media(args)
    images, config, checkpoint = _detector(args)
    files = find_media(images, args.out_dir)
    say(f'infer {plural(len(files), "file")} with {args.model or config}')
    draft = draft_config(config, args.cfg_options)
    preflight.check_file(checkpoint)
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    if args.device is not None:
        preflight.check_device(args.device)
    preflight.check_checkpoint(checkpoint)
    read_arrays_or_files(cfg)
    import torch

    from mmdet_dab.deploy.folder import Run, refuse_codec
    from mmdet_dab.deploy.results import FORMATS, Drawn, JsonFiles, Writer, make_folder
    from mmdet_dab.inferencer import FileInferencer
    from mmdet_dab.optimize import optimize_for_inference

    refuse_codec(files, args.codec)
    make_folder(args.out_dir)
    detector = FileInferencer(cfg, checkpoint, args.device)
    if args.optimize:
        optimize_for_inference(detector.model, getattr(torch, args.optimize))
    writers: list[Writer] = [
        Drawn(args.out_dir / 'vis', detector.colours, args.score_thr, args.codec),
        JsonFiles(args.out_dir / 'preds', [file.name for file in files]),
    ]
    if args.format:
        writers.append(FORMATS[args.format](args.out_dir, detector.classes))
    work = Run(detector, writers, threshold=0, batch_size=args.batch_size)
    code = work(files)
    print(work.summary())
    return code


def _detector(args: argparse.Namespace) -> tuple[list[str], str, str]:
    """Images, config and checkpoint; the last two are the last of the arguments, or ``--model``.

    Raises:
        UserError: there are too few arguments.
        CheckpointError: no released detector has this name, or the repository is of another model.
    """
    if args.model is None:
        if len(args.images) < 3:
            raise UserError('infer: give IMAGE CONFIG CHECKPOINT, or IMAGE --model NAME; see mmdet-dab infer --help')
        *images, config, checkpoint = args.images
        return images, config, checkpoint
    if not args.model.startswith('hf://'):
        return args.images, *find_released(args.model)
    say('loading PyTorch …')
    from mmdet_dab.checkpoints.hub import look_at

    config = look_at(args.model).config
    if config is None:
        raise CheckpointError(
            f'{args.model}: these weights are of none of our configs. Write one, and give it in the place of CONFIG, '
            f'with {args.model} as CHECKPOINT'
        )
    return args.images, config, args.model
