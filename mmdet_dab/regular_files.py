"""Limits of files that come from anywhere: what is one, how large it is, whether it can be written.

Imports nothing heavy.
"""

from __future__ import annotations

import os
from pathlib import Path

from mmdet_dab.errors import UserError

#: Pixels of an image. More would fill the memory of a training run's workers: a small file can
#: claim any size.
MOST_PIXELS = 178_000_000


def check_file(path: str | Path, what: str, error: type[UserError] = UserError) -> None:
    """Refuse what is no file, is empty, or cannot be read.

    Args:
        path: of the file.
        what: it is, such as ``'checkpoint'``; empty for a path that speaks for itself.
        error: to raise.

    Raises:
        UserError: of the class ``error``; says which of these it is. A pipe would block, and a
            device never end.
    """
    name = f'{what} {path}'.strip()
    try:
        if not os.path.lexists(path):
            raise error(f'{name} does not exist: check the name')
        if os.path.isdir(path):
            raise error(f'{name} is a folder: name the file in it')
        if not os.path.exists(path):
            raise error(f'{name} is a link to nothing: name the file itself')
        if not os.path.isfile(path):
            raise error(f'{name} is a pipe or a device, not a file: name a file')
        if os.path.getsize(path) == 0:
            raise error(f'{name} is empty: copy or download it again')
        with open(path, 'rb'):
            pass
    except UserError:
        raise
    except (OSError, ValueError) as failure:  # the second: a name that no file can have
        reason = getattr(failure, 'strerror', None) or failure
        raise error(f'{name} cannot be read ({reason}): check its name and permissions') from failure


def check_output(path: str | Path, option: str) -> None:
    """Refuse a file that cannot be written, before hours of work that it is to hold.

    Args:
        path: of the file; what is there stays as it is.
        option: that named it, such as ``'--out'``.

    Raises:
        UserError: there is no such folder, or a folder or a device of that name, or the system
            lets nobody write there.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f'{option} {path}: it is a folder. Name a file.')
        if not path.absolute().parent.is_dir():
            raise UserError(f'{option} {path}: there is no folder {path.parent}. Create it first.')
        if path.exists() and not path.is_file():
            raise UserError(f'{option} {path}: it is a pipe or a device. Name a file.')
        is_new = not path.exists()
        with open(path, 'ab'):
            pass
        if is_new:
            path.resolve().unlink()
    except UserError:
        raise
    except (OSError, ValueError) as failure:  # the second: a name that no file can have
        reason = getattr(failure, 'strerror', None) or failure
        raise UserError(
            f'{option} {path}: it cannot be written ({reason}). Name another, or check the permissions.'
        ) from failure
