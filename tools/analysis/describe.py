"""Print a detector as its parts: ``python tools/analysis/describe.py CONFIG``; with two configs, what differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmdet_dab  # noqa: F401  (makes mmdet importable without a compiled mmcv)

# isort: split
from mmdet_dab import cli
from mmdet_dab.analysis import building, structure

LEGEND = (
    'ours: mmdet_dab. yours: a file in none of the packages. n × type: n equal parts, with the parameters of all n.'
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print the parts of a detector, one on a line: its class, where that comes from (ours: mmdet_dab; '
        'yours: any file that is in none of the packages), its parameters, and what the config sets. With two configs, '
        'only the parts that differ. A config is a file, or one of a package: mmdet::detr/detr_r50_8xb2-150e_coco.py.'
    )
    parser.add_argument('config', help='config of a detector')
    parser.add_argument('other', nargs='?', help='config of another one, to be compared with it')
    cli.add_override_argument(parser)
    return parser.parse_args()


def describe(name: str, args: argparse.Namespace) -> structure.Part:
    cfg = building.load_config(name, args.cfg_options)
    return structure.describe(building.build_detector(cfg), cfg)


def main() -> None:
    args = parse_args()
    detector = describe(args.config, args)
    if args.other is None:
        print(f'{structure.format_parts(detector)}\n\n{LEGEND}')
        return
    change = structure.compare(detector, describe(args.other, args))
    if change is None:
        print(f'{args.config} and {args.other} describe the same detector.')
    else:
        print(f'{args.config} → {args.other}\n\n{structure.format_changes(change)}')


if __name__ == '__main__':
    cli.run(main)
