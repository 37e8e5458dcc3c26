"""Two training runs never share a work directory."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import time

import pytest

from mmdet_dab.engine.lock import LOCK, work_dir_lock
from mmdet_dab.errors import UserError

CONTEXT = multiprocessing.get_context('fork')


def hold(folder, ready):
    with work_dir_lock(folder):
        ready.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """A process that trains in the folder."""
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=hold, args=(tmp_path, ready), daemon=True)
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_the_second_is_refused_and_told_who_is_there(tmp_path, holder):
    with pytest.raises(UserError, match=f'process {holder.pid} on {socket.gethostname()}'), work_dir_lock(tmp_path):
        pass


def test_a_killed_one_leaves_no_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert (tmp_path / LOCK).exists()
    with work_dir_lock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()


def no_locks(handle, flags):
    raise OSError(errno.ENOLCK, 'no locks')


def test_without_locks_the_process_is_looked_for(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(fcntl, 'lockf', no_locks)
    with pytest.raises(UserError, match=str(holder.pid)), work_dir_lock(tmp_path):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with work_dir_lock(tmp_path):
        pass


@pytest.mark.parametrize('content', ['', '{', '[1]', '{"pid": "x", "host": 3}', '{"pid": 1, "host": "elsewhere"}'])
def test_without_locks_what_a_damaged_file_or_another_machine_says_holds_nobody_up(tmp_path, monkeypatch, content):
    monkeypatch.setattr(fcntl, 'lockf', no_locks)
    (tmp_path / LOCK).write_text(content)
    with work_dir_lock(tmp_path):
        pass
