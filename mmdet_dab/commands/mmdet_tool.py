"""Run one of mmdet's own tools with the parts of this package.

Such as analysis_tools/confusion_matrix.py. Without a compiled mmcv those tools work only where
mmdet_dab is imported first, which this does.
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from pathlib import Path

from mmdet_dab import compat
from mmdet_dab.errors import UserError, listed, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('tool', nargs='?', help="a file in mmdet's folder tools/; without one, their names are printed")
    parser.add_argument('arguments', nargs=argparse.REMAINDER, metavar='...', help='the arguments of that tool')


def run(args: argparse.Namespace) -> None:
    folder = tools_folder()
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob('*.py'))
    if args.tool is None:
        print('\n'.join(names))
        return
    if args.tool not in names:
        ends_so = [name for name in names if Path(name).stem == Path(args.tool).stem]
        proposals = listed(ends_so or nearest(args.tool, names)) or '`mmdet-dab mmdet-tool` prints all'
        raise UserError(f'mmdet-tool {args.tool}: mmdet has no tool of this name. Did you mean {proposals}?')
    compat.import_stack()
    sys.argv = [str(folder / args.tool), *args.arguments]
    sys.path.insert(0, str((folder / args.tool).parent))
    runpy.run_path(sys.argv[0], run_name='__main__')


def tools_folder() -> Path:
    """Where the wheel of mmdet has its tools."""
    spec = importlib.util.find_spec('mmdet')
    if spec is None or not spec.submodule_search_locations:
        raise compat.install_error(ModuleNotFoundError("No module named 'mmdet'", name='mmdet'))
    folder = Path(spec.submodule_search_locations[0], '.mim', 'tools')
    if not folder.is_dir():
        raise UserError(f'{folder} does not exist: this mmdet was installed without its tools')
    return folder
