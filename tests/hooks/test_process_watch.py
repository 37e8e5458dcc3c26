"""A training run in two processes, of which one is killed or fails: the other one says so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

from mmdet_dab import launch
from tests.helpers.interrupted import interrupted_config
from tests.helpers.processes import environment, server, store
from tests.helpers.training import build

WATCH = dict(type='mmdet_dab.ProcessWatchHook', lost_after=30, slow_after=30, interval=0.2)


class Mishap(Hook):
    """Befalls the second process in the third step."""

    priority = 'LOWEST'

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.rank == 1 and runner.iter == 2:
            if self.kind == 'killed':
                time.sleep(5 * WATCH['interval'])  # a step may be shorter, and nobody heard of this one
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError('no room for the batch')


def train(rank: int, port: int, config: Config, folder: Path, kind: str) -> None:
    os.environ |= environment(rank, port)
    os.dup2(os.open(folder / f'stderr_{rank}', os.O_WRONLY | os.O_CREAT), 2)
    Config.pretty_text = 'the config'  # to format it takes longer than to train
    config.work_dir = str(folder / 'work')
    runner = build(config, 'pytorch')
    runner.register_hook(Mishap(kind))
    with launch.failures_named(runner):
        runner.train()


@pytest.mark.parametrize(('kind', 'said'), [('killed', 'is lost'), ('failed', 'MemoryError: no room for the batch')])
def test_the_process_that_is_gone_is_named(tmp_path: Path, kind: str, said: str):
    config = interrupted_config(tmp_path, default_hooks=dict(processes=WATCH))
    meeting = store()
    processes = [server().Process(target=train, args=(r, meeting.port, config, tmp_path, kind)) for r in range(2)]
    for process in processes:
        process.start()
    until = time.monotonic() + 120
    for process in processes:
        process.join(max(until - time.monotonic(), 1))
    assert [process.exitcode for process in processes] == [1, -signal.SIGKILL if kind == 'killed' else 1]
    error = (tmp_path / 'stderr_0').read_text()
    (line,) = [line for line in error.splitlines() if line.startswith('error: ')]
    assert 'process 1 (' in line
    assert said in line
    assert 'in step 2' in line or kind == 'failed'
    assert 'Traceback' not in error, 'the error of the collective says nothing'
