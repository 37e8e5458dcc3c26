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
from mmdet_dab.errors import plural
from mmdet_dab.media_files import find_media


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_media(parser)
    arguments.add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file; the class names in it are the ones drawn')
    parser.add_argument(
        '--out-dir', type=Path, default=Path('outputs'), metavar='DIR', help='folder to write to (default: outputs)'
    )
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score that is drawn')
    parser.add_argument('--format', choices=arguments.FORMATS, help='write all boxes into one file as well')
    parser.add_argument('--device', help='cpu, cuda or cuda:N; default: a GPU where there is one')
    arguments.add_optimize(parser)


def run(args: argparse.Namespace) -> int:
    arguments.check_media(args)
    files = find_media(args.images, args.out_dir)
    say(f'infer {plural(len(files), "file")} with {args.config}')
    draft = draft_config(args.config, args.cfg_options)
    preflight.check_file(args.checkpoint)
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    if args.device is not None:
        preflight.check_device(args.device)
    preflight.check_checkpoint(args.checkpoint)
    read_arrays_or_files(cfg)
    import torch

    from mmdet_dab.deploy.folder import Run, refuse_codec
    from mmdet_dab.deploy.results import FORMATS, Drawn, JsonFiles, Writer, make_folder
    from mmdet_dab.inferencer import FileInferencer
    from mmdet_dab.optimize import optimize_for_inference

    refuse_codec(files, args.codec)
    make_folder(args.out_dir)
    detector = FileInferencer(cfg, args.checkpoint, args.device)
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
