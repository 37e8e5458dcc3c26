"""The console command ``mmdet-dab``, and what all commands share: messages and exit codes.

Arguments are parsed before anything heavy is imported. What is the user's to fix ends a command
with exit code 2 and one message on stderr; a training run that cannot go on, and an error that
nobody foresaw, with 1. The traceback of the latter is kept in a file that the message names.
``MMDET_DAB_TRACEBACK=1`` in the environment shows tracebacks instead.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

from mmdet_dab import commands
from mmdet_dab.compat import install_error
from mmdet_dab.console import complain, rank
from mmdet_dab.errors import TrainingError, UserError
from mmdet_dab.regular_files import MOST_PIXELS
from mmdet_dab.version import __version__

TRACEBACK = 'MMDET_DAB_TRACEBACK'


def program() -> NoReturn:
    """``mmdet-dab`` as a process of its own."""
    end(main())


def end(code: int) -> NoReturn:
    """End this process with an exit code.

    One of several processes ends without taking Python down: a thread of gloo that lets go of its
    last tensor meanwhile aborts the process (signal 6), and a training run that is done would count
    as failed.
    """
    if 'RANK' not in os.environ:
        sys.exit(code)
    atexit._run_exitfuncs()  # such as that of multiprocessing, which ends the workers
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads on
            stream.flush()
    os._exit(code)


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

    The one place where what goes wrong becomes a message.
    """
    _forbid_unrestricted_unpickling()
    _bound_images()
    _write_what_can_be_written()
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
    except BrokenPipeError:  # as in `mmdet-dab describe … | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _fail_unforeseen(error)
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
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        raise UserError(_of_the_system(error)) from error
    except AssertionError as error:  # mmcv's of an image, also from the worker that loads it
        image = re.search(r'failed to load image: (.+)', str(error))
        if image is None:
            raise
        raise UserError(f'{image[1]}: not an image, or a damaged one. Copy it again, or leave it out') from error
    except MemoryError as error:
        raise UserError(f'the memory is full ({error or "no room for more"}): {LESS_MEMORY}') from error
    except RuntimeError as error:  # torch's for a full memory
        if 'out of memory' in str(error) or "can't allocate memory" in str(error):
            raise UserError(f'the memory is full ({str(error).splitlines()[0]:.200}): {LESS_MEMORY}') from error
        raise


#: How to get by with less.
LESS_MEMORY = 'take a smaller --batch-size or train_dataloader.batch_size, smaller images, or fewer workers'
#: What the operating system refuses most, and how to fix it.
FIXES = {
    errno.ENOSPC: 'Make room there',
    errno.EDQUOT: 'Make room there',
    errno.EACCES: 'Check its permissions, or name another one',
    errno.EPERM: 'Check its permissions, or name another one',
    errno.EROFS: 'Name a folder that can be written to',
    errno.ENOENT: 'Check the name',
    errno.EISDIR: 'Name a file',
    errno.ENOTDIR: 'A part of the path is a file: name another one',
    errno.EEXIST: 'Name another one',
    errno.ENAMETOOLONG: 'Name a shorter one',
    errno.EMFILE: 'Raise the limit with ulimit -n, or take fewer workers',
}


def _of_the_system(error: OSError) -> str:
    """The message for what the operating system refused."""
    name = error.filename if error.filename is not None else 'a file'
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    reason = error.strerror or str(error)
    return f'{name}: {reason[:1].lower()}{reason[1:]}. {FIXES.get(error.errno or 0, "Try again, or name another one")}'


def _fail_unforeseen(error: Exception) -> int:
    """Say what nobody foresaw in one message, and keep the traceback in a file."""
    if os.environ.get(TRACEBACK):
        raise error
    place = traceback.extract_tb(error.__traceback__)[-1]
    try:
        with tempfile.NamedTemporaryFile(
            'w', prefix='mmdet_dab_', suffix='.txt', delete=False, encoding='utf-8', errors='backslashreplace'
        ) as file:
            traceback.print_exception(error, file=file)
        kept = f'The traceback is in {file.name}'
    except OSError:
        kept = f'Set {TRACEBACK}=1 to see the traceback'
    text = ' '.join(str(error).split())[:300]
    print(
        f'error: unexpected {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}: {text}. {kept}',
        file=sys.stderr,
    )
    return 1


def _write_what_can_be_written() -> None:
    """Let no name that a terminal cannot show, such as one with a lone surrogate, end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


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


def _bound_images() -> None:
    """Let OpenCV refuse images that claim more pixels than a worker has memory for."""
    os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(MOST_PIXELS))


def _leave_process_group() -> None:
    torch = sys.modules.get('torch')
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
