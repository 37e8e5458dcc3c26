"""Export a detector to one file that runs without torch and mmdet.

The ending of --out chooses the format: .onnx (ONNX), .xml (OpenVINO) or .pt2 (torch.export). The
file takes any batch, size and padding, and is compared with the detector before it gets its name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import CheckpointError, UserError
from mmdet_dab.regular_files import check_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument('checkpoint', type=Path, help='weights of the detector')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='.onnx, .xml or .pt2')
    parser.add_argument(
        '--input',
        choices=['float32', 'uint8'],
        default='float32',
        help='float32: the file takes normalised images; uint8: it normalises them itself',
    )
    parser.add_argument(
        '--precision',
        choices=['float32', 'float16', 'bfloat16'],
        default='float32',
        help='.onnx and .xml: float16 keeps weights in half the space; .xml: bfloat16 computes in it where the '
        'processor can; .pt2: both compute in it',
    )
    parser.add_argument('--int8', action='store_true', help='8-bit integers where they keep 99.5 %% of AP')
    parser.add_argument(
        '--calibrate', type=int, metavar='N', help='training images that int8 is calibrated on (default: 200)'
    )
    parser.add_argument(
        '--threshold', type=arguments.score, default=0.3, help='score that the runtime shows (default: 0.3)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a file that exists')


def run(args: argparse.Namespace) -> None:
    check_file(args.checkpoint, 'checkpoint', CheckpointError)
    if args.calibrate is not None and not args.int8:
        raise UserError(f'--calibrate {args.calibrate}: only int8 is calibrated. Add --int8, or leave it out.')
    calibrate = 200 if args.calibrate is None else args.calibrate
    if calibrate < 1:
        raise UserError(f'--calibrate {calibrate}: int8 needs at least one image.')
    if args.int8 and args.precision != 'float32':
        raise UserError(f'--precision {args.precision}: leave it out, --int8 chooses the precision of the rest.')
    from mmdet_dab.deploy.request import check_target, files_of

    for file in files_of(args.out):
        if file.exists() and not args.overwrite:
            raise UserError(f'--out: {file} exists: name another file, or --overwrite.')
    check_target(args.out, args.precision, args.threshold)
    draft = draft_config(args.config, args.cfg_options)
    if args.int8:
        preflight.check_data(draft.cfg, 'train', 'val')
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    from mmdet_dab.deploy import int8
    from mmdet_dab.deploy.exporter import Request, export

    if args.int8:
        int8.check(args.out)
    export(Request(cfg, args.checkpoint, args.out, args.input, args.precision, args.threshold), say)
    if args.int8:
        int8.quantize(cfg, args.out, calibrate, say)
    print(f'wrote {args.out}. Next: mmdet-dab run {args.out} IMAGES --out outputs')
