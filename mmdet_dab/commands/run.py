"""Detect objects in images and videos with an exported file; needs neither torch nor mmdet.

Writes the images and videos with their boxes, and the detections as JSON, CSV or results of COCO.
What cannot be read is named, the others are done, and the exit code is 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab.commands import arguments
from mmdet_dab.errors import UserError
from mmdet_dab.media_files import find_media


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', type=Path, help='file of `mmdet-dab export`: .onnx, .xml or .pt2')
    arguments.add_media(parser)
    parser.add_argument('--out', type=Path, default=Path('outputs'), metavar='DIR', help='default: outputs')
    parser.add_argument('--threshold', type=arguments.score, help='lowest score; default: that of the file')
    parser.add_argument('--format', choices=arguments.FORMATS, default='json', help='of the detections (default: json)')
    parser.add_argument('--no-draw', action='store_true', help='write the detections only')
    parser.add_argument('--threads', type=int, metavar='N', help='of one run; default: all cores')
    parser.add_argument(
        '--trust', action='store_true', help='load a .pt2 file, which may run code: only one that you made'
    )


def run(args: argparse.Namespace) -> int:
    arguments.check_media(args)
    if args.threads is not None and args.threads < 1:
        raise UserError(f'--threads {args.threads}: give at least 1.')
    files = find_media(args.images, args.out)
    from mmdet_dab.deploy.folder import Run, refuse_codec
    from mmdet_dab.deploy.predictor import Predictor
    from mmdet_dab.deploy.results import FORMATS, Drawn, Writer, make_folder

    predictor = Predictor(args.model, args.threads, trusted=args.trust)
    make_folder(args.out)
    writers: list[Writer] = [FORMATS[args.format](args.out, predictor.metadata.classes)]
    if not args.no_draw:
        refuse_codec(files, args.codec)
        writers.append(Drawn(args.out / 'images', predictor.metadata.palette, 0, args.codec))
    work = Run(predictor, writers, args.threshold, args.batch_size)
    code = work(files)
    print(work.summary())
    return code
