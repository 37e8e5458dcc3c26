"""Detect objects in images with an exported file; needs neither torch nor mmdet.

Writes the images with their boxes, and the detections as JSON, CSV or results of COCO. An image
that cannot be read is named, the others are done, and the exit code is 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab.errors import UserError

FORMATS = ('json', 'csv', 'coco')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', type=Path, help='file of `mmdet-dab export`: .onnx, .xml or .pt2')
    parser.add_argument('images', type=Path, nargs='+', help='images, or folders of images with their sub-folders')
    parser.add_argument('--out', type=Path, default=Path('outputs'), metavar='DIR', help='default: outputs')
    parser.add_argument('--threshold', type=float, help='lowest score; default: that of the file')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images in one run (default: 1)')
    parser.add_argument('--format', choices=FORMATS, default='json', help='of the detections (default: json)')
    parser.add_argument('--no-draw', action='store_true', help='write the detections only')
    parser.add_argument('--threads', type=int, metavar='N', help='of one run; default: all cores')


def run(args: argparse.Namespace) -> int:
    if args.batch_size < 1:
        raise UserError(f'--batch-size {args.batch_size}: it must be at least 1.')
    from mmdet_dab.deploy.folder import Job, run_folder
    from mmdet_dab.deploy.predictor import Predictor

    predictor = Predictor(args.model, args.threads)
    job = Job(args.images, args.out, args.threshold, args.batch_size, args.format, not args.no_draw)
    return run_folder(predictor, job)
