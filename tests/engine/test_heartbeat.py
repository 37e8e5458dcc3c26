"""A lost process is told apart from a slow one, and both are named."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch.distributed as dist

from mmdet_dab.engine.heartbeat import Heartbeat, is_of_others, whereabouts
from tests.helpers.processes import environment, server

STEPS, SLOW_STEP = 40, 10
TIMES = dict(lost_after=2.0, slow_after=0.6, interval=0.1)


def work(rank: int, port: int, folder: Path, slow: float) -> None:
    """One of two processes, which wait for each other in every step."""
    os.environ |= environment(rank, port)
    error = os.open(folder / f'stderr_{rank}', os.O_WRONLY | os.O_CREAT)
    os.dup2(error, 2)
    with (folder / f'warnings_{rank}').open('w', buffering=1) as file, redirect_stderr(file):
        dist.init_process_group('gloo')
        heartbeat = Heartbeat(**TIMES, warn=lambda text: print(text, file=file))
        heartbeat.start()
        for step in range(STEPS):
            heartbeat.note('loading data', step)
            time.sleep(slow if (rank, step) == (1, SLOW_STEP) else 0.05)
            heartbeat.note('computing', step)
            (folder / f'step_{rank}').write_text(str(step))
            dist.barrier()
        heartbeat.stop()


def run(folder: Path, number: int | None, slow: float = 0.05):
    """Run both, and send the second one a signal on its way; exit codes and what the first one says."""
    # As torchrun's agent, which keeps the store in a process of its own.
    store = dist.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    processes = [server().Process(target=work, args=(rank, store.port, folder, slow)) for rank in range(2)]
    try:
        for process in processes:
            process.start()
        if number is not None:
            until = time.monotonic() + 60
            while time.monotonic() < until and not (folder / 'step_1').exists():
                time.sleep(0.02)
            time.sleep(0.3)
            os.kill(processes[1].pid, number)
        processes[0].join(60)
        processes[1].join(0.1 if number else 60)
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, (folder / 'stderr_0').read_text(), (folder / 'warnings_0').read_text(), processes[1].pid


def test_a_stopped_process_is_lost(tmp_path: Path):
    """The barrier would wait for half an hour."""
    codes, error, _, pid = run(tmp_path, signal.SIGSTOP)
    assert codes == [1, None]
    assert f'process 1 ({socket.gethostname()}, pid {pid}) is lost' in error
    assert 'in step' in error
    assert 'test_heartbeat.py' in error, 'what it did last is not said'
    assert error.count('error: ') == 1


def test_a_slow_process_is_named_and_waited_for(tmp_path: Path):
    codes, error, warnings, pid = run(tmp_path, None, slow=3.0)
    assert codes == [0, 0]
    assert error == ''
    lines = warnings.splitlines()
    assert 1 <= len(lines) <= 3, 'at 0.6, 1.2 and 2.4 seconds'
    for line in lines:
        assert line.startswith(f'process 1 ({socket.gethostname()}, pid {pid})')
        assert f'loading data in step {SLOW_STEP}' in line


def test_the_line_outside_of_torch_is_found():
    import sys

    assert whereabouts(sys._getframe()) == (
        f'test_heartbeat.py:{sys._getframe().f_lineno - 1} test_the_line_outside_of_torch_is_found',
        False,
    )


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (RuntimeError('[…/pair.cc:547] Connection closed by peer [127.0.0.1]:123'), True),
        (dist.DistBackendError('NCCL error'), True),
        (RuntimeError('mat1 and mat2 shapes cannot be multiplied'), False),
        (ValueError('Connection closed by peer'), False),
    ],
)
def test_errors_of_a_collective_are_told_from_others(error: Exception, expected: bool):
    assert is_of_others(error) is expected
