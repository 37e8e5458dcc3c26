"""One training run at a time in a work directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdet_dab.errors import UserError

#: In the work directory; names the process that trains there. It may stay behind: the lock on it
#: is what counts.
LOCK = 'training.lock'
#: What file systems answer that know no locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def work_dir_lock(work_dir: str | Path) -> Iterator[None]:
    """Keep other training runs out of ``work_dir``, on this machine and on others that share it.

    The operating system holds the lock for this process, and gives it back however the process
    ends. On file systems without locks, the file names the process, which is looked for on this
    machine.
    Call it in the first process of a training run (rank 0) only.

    Raises:
        UserError: another process trains there; the message names it.
    """
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    # Not closed before the end: closing any handle of the file in this process would give the lock
    # back.
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = False
        except OSError as error:
            taken = error.errno not in NO_LOCKS or _is_alive(_owner(handle))
        if taken:
            owner = _owner(handle)
            raise UserError(
                f'{folder}: process {owner.get("pid", "unknown")} on {owner.get("host", "another machine")} trains '
                'there already. Wait for it, stop it, or give this training run another --work-dir'
            )
        own = {'pid': os.getpid(), 'host': socket.gethostname(), 'started': _start_of(os.getpid())}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(own).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _owner(handle: int) -> dict[str, Any]:
    """What the file says of the process that wrote it last; empty where that has ended."""
    try:
        owner = json.loads(os.pread(handle, 1000, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_alive(owner: dict[str, Any]) -> bool:
    """Whether the process runs on this machine; those of other machines count as ended."""
    return owner.get('host') == socket.gethostname() and owner.get('started') == _start_of(owner.get('pid'))


def _start_of(pid: Any) -> str | None:
    """When a process was started, in the kernel's ticks; a later one of its number has another."""
    try:
        return Path(f'/proc/{int(pid)}/stat').read_text().rpartition(')')[2].split()[19]
    except (OSError, ValueError, TypeError, IndexError):
        return None
