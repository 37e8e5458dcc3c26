"""The console command ``mmdet-dab``, and what all commands share: messages and exit codes.

Arguments are parsed before anything heavy is imported. What is the user's to fix ends a command
with exit code 2 and one message on stderr; a training run that cannot go on, with 1.
``MMDET_DAB_TRACEBACK=1`` in the environment shows the traceback instead.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.error import URLError

from mmdet_dab import commands
from mmdet_dab.compat import install_error
from mmdet_dab.console import complain, rank
from mmdet_dab.errors import TrainingError, UserError
from mmdet_dab.version import __version__

TRACEBACK = 'MMDET_DAB_TRACEBACK'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mmdet-dab``; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='mmdet-dab', description='DAB-DETR in MMDetection: train, test, use, convert and inspect detectors.'
    )
    parser.add_argument('--version', action='version', version=f'mmdet_dab {__version__}')
    choices = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name in commands.NAMES:
        module = commands.load(name)
        description = (module.__doc__ or '').strip()
        command = choices.add_parser(name, help=description.splitlines()[0], description=description)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return _parse_and_run(parser, arguments)


def tool(name: str) -> int:
    """Run one command as a script of its own, as ``tools/train.py`` does; returns its exit code."""
    module = commands.load(name)
    parser = argparse.ArgumentParser(prog=Path(sys.argv[0]).name, description=module.__doc__)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return _parse_and_run(parser, None)


def _parse_and_run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    def work() -> object:
        args = parser.parse_args(arguments)
        return args.run(args)

    return run(work)


def run(work: Callable[[], object]) -> int:
    """Do the work of a command; returns its exit code.

    What the user can fix becomes one message.
    """
    _forbid_unrestricted_unpickling()
    try:
        with _readable_errors():
            code = work()
    except UserError as error:
        return _fail(error, 2)
    except TrainingError as error:
        # All processes stop, and one of them says so. The input was usable: another exit code.
        return _fail(error, 1, silent=rank() != 0)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    finally:
        _leave_process_group()
    # A command that did only a part of its work says so.
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn errors of other packages that the user can fix into errors of ours."""
    try:
        yield
    except URLError as error:
        raise UserError(
            f'weights cannot be downloaded ({error.reason}): put the file into {_download_folder()}, '
            'or start from random weights with --cfg-options model.backbone.init_cfg=None'
        ) from error
    except ImportError as error:
        if isinstance(error, UserError) or (error.name or '').startswith('mmdet_dab'):
            raise  # the second is a mistake of ours
        raise install_error(error) from error


def _download_folder() -> str:
    import torch

    return f'{torch.hub.get_dir()}/checkpoints'


def _fail(error: Exception, code: int, silent: bool = False) -> int:
    if os.environ.get(TRACEBACK):
        raise error
    if not silent:
        complain(f'error: {error}')
    return code


def _forbid_unrestricted_unpickling() -> None:
    """Make every ``torch.load`` of this process read weights only, whatever it is asked for."""
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)  # torch refuses to see both


def _leave_process_group() -> None:
    torch = sys.modules.get('torch')
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
