"""Print the parts of a detector, or in which parts two detectors differ.

One part on a line: its class, where that comes from (ours: mmdet_dab; yours: any file that is in
none of the packages), its parameters, and what the config sets.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmdet_dab.commands import arguments
from mmdet_dab.config import build_detector, config_names, draft_config
from mmdet_dab.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmdet_dab.analysis.structure import Part

LEGEND = (
    'ours: mmdet_dab. yours: a file in none of the packages. n × type: n equal parts, with the parameters of all n.\n'
    'key=value ← part: the value is stated there, and handed down.'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', nargs='?', help='config of a detector: a file, dab_detr_r50_50e, mmdet::path')
    parser.add_argument('other', nargs='?', help='config of another one, to be compared with it')
    parser.add_argument('--list', action='store_true', help='print the names of all configs of this package')
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    if args.list:
        print('\n'.join(config_names()))
        return
    if args.config is None:
        raise UserError('describe: name a config, or --list')
    drafts = [draft_config(name, args.cfg_options) for name in (args.config, args.other) if name is not None]
    detector, *others = [describe(draft.finish()) for draft in drafts]
    from mmdet_dab.analysis import structure

    if not others:
        print(f'{structure.format_parts(detector)}\n\n{LEGEND}')
        return
    change = structure.compare(detector, others[0])
    if change is None:
        print(f'{args.config} and {args.other} describe the same detector.')
    else:
        print(f'{args.config} → {args.other}\n\n{structure.format_changes(change)}')


def describe(cfg: Config) -> Part:
    from mmdet_dab.analysis import structure

    return structure.describe(build_detector(cfg), cfg)
