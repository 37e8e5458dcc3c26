"""Check images and annotations, and write a config to train on them, with a sheet of samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab import compat
from mmdet_dab.commands import arguments
from mmdet_dab.config_files import CONFIGS
from mmdet_dab.console import say
from mmdet_dab.errors import DataError
from mmdet_dab.released import RELEASED

FORMATS = ('coco', 'voc', 'yolo')
MARKED_ON = ('upright', 'stored')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--images', type=Path, required=True, metavar='DIR', help='folder of the images')
    parser.add_argument(
        '--annotations',
        type=Path,
        required=True,
        metavar='FILE_OR_DIR',
        help='a .json file of COCO, a folder of .xml files of Pascal VOC, or a folder of .txt files of YOLO',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='CONFIG.py', help='config to write')
    parser.add_argument(
        '--val',
        type=Path,
        metavar='FILE_OR_DIR',
        help='annotations of the validation images, or a .txt file with their names; default: a part is split off',
    )
    parser.add_argument(
        '--val-images',
        type=Path,
        metavar='DIR',
        help='their folder; default: found by the place of --val, else that of --images',
    )
    parser.add_argument('--format', choices=FORMATS, help='format of the annotations; default: as the files look')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='classes to find; for YOLO, names of the numbers; default: all'
    )
    parser.add_argument(
        '--start',
        '--checkpoint',
        default='auto',
        metavar='START',
        help='scratch: random weights; imagenet: a small model whose backbone knows ImageNet; the file of a '
        f'checkpoint; hf://OWNER/REPOSITORY; or a released detector ({", ".join(RELEASED)}). '
        'Default: auto, the strongest that can be reached, on a CPU the small model',
    )
    parser.add_argument(
        '--minutes',
        type=arguments.finite,
        metavar='M',
        help='time of the training run: its epochs are those that fit, by a short trial on this machine; '
        'default: as many as it gets better in',
    )
    parser.add_argument(
        '--val-share', type=arguments.finite, default=0.2, help='share of the images that is split off (default: 0.2)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of that split')
    parser.add_argument(
        '--annotations-out',
        type=Path,
        metavar='DIR',
        help='folder for annotation files that are converted or split; default: beside the config',
    )
    parser.add_argument(
        '--leave-out-faulty',
        action='store_true',
        help='write annotation files without images that cannot be read and without invalid boxes',
    )
    parser.add_argument(
        '--boxes-on',
        choices=MARKED_ON,
        help='what boxes were marked on where images have an EXIF orientation: images as viewers show them, or pixels '
        'as they are stored; default: upright, with a warning',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a config that exists')


def run(args: argparse.Namespace) -> None:
    for option, path in (('--images', args.images), ('--annotations', args.annotations), ('--val', args.val)):
        if path is not None and not path.exists():
            raise DataError(f'{option} {path} does not exist')
    say('loading PyTorch and MMDetection …')
    compat.import_stack()
    from mmdet_dab.data.new_dataset import Request, make

    make(
        Request(
            images=args.images,
            annotations=args.annotations,
            out=args.out,
            configs=CONFIGS,
            val_images=args.val_images,
            val=args.val,
            kind=args.format,
            classes=tuple(args.classes) if args.classes else None,
            start=args.start,
            minutes=args.minutes,
            val_share=args.val_share,
            seed=args.seed,
            annotations_out=args.annotations_out,
            leave_out=args.leave_out_faulty,
            overwrite=args.overwrite,
            boxes_on=args.boxes_on,
        )
    )
