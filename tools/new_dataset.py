"""From your pictures to a config: ``python tools/new_dataset.py --images DIR --annotations FILE --out CONFIG.py``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmdet_dab  # noqa: F401  (makes mmdet importable without a compiled mmcv)

# isort: split
from mmdet_dab import cli
from mmdet_dab.data.new_dataset import FORMATS, MARKED_ON, Request, make

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Look at pictures and their boxes, and write a config to train on them, with a sheet of samples.'
    )
    parser.add_argument('--images', type=Path, required=True, metavar='DIR', help='folder of the pictures')
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
        help='annotations of the validation pictures, or a .txt file with their names; default: a part is divided off',
    )
    parser.add_argument('--val-images', type=Path, metavar='DIR', help='their folder; default: that of --images')
    parser.add_argument('--format', choices=FORMATS, help='of the annotations; default: as they look')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='classes to find; for YOLO, names of the numbers; default: all'
    )
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='weights to start from; default: random ones')
    parser.add_argument('--val-share', type=float, default=0.2, help='part divided off for validation (default: 0.2)')
    parser.add_argument('--seed', type=int, default=0, help='of that division')
    parser.add_argument(
        '--annotations-out',
        type=Path,
        metavar='DIR',
        help='folder for annotation files that are converted or divided; default: beside the config',
    )
    parser.add_argument(
        '--leave-out-faulty',
        action='store_true',
        help='write annotation files without pictures that cannot be read and boxes that are none',
    )
    parser.add_argument(
        '--boxes-on',
        choices=MARKED_ON,
        help='what boxes were marked on where images have an EXIF orientation: images as viewers show them, or pixels '
        'as they are stored; default: upright, with a warning',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a config that exists')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
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
            checkpoint=args.checkpoint,
            val_share=args.val_share,
            seed=args.seed,
            annotations_out=args.annotations_out,
            leave_out=args.leave_out_faulty,
            overwrite=args.overwrite,
            boxes_on=args.boxes_on,
        )
    )


if __name__ == '__main__':
    cli.run(main)
