"""A training run that is asked to stop saves, says so and ends; asked twice, it ends at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from benchmarks.interruptions import differences, outcome
from mmdet_dab.engine.signals import SAME_REQUEST, CalmWorker, Stopped, StopSignals
from tests.helpers.interrupted import interrupted_config, train

CONTEXT = multiprocessing.get_context('fork')


class Signal(Hook):
    """Sends this process a signal when a point of the Runner is met for the so-manieth time."""

    priority = 'LOWEST'

    def __init__(self, number, point, times):
        self.number, self.left = number, times
        setattr(self, point, self._count)

    def _count(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


@pytest.mark.usefixtures('quiet_runner')
@pytest.mark.parametrize('loop', ['epoch', 'iter'])
def test_it_saves_at_the_next_step_and_goes_on_from_there(loop, undisturbed, tmp_path, capfd):
    config, work_dir = interrupted_config(tmp_path, loop), tmp_path / 'work'
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped) as stopped:
        train(config, work_dir, Signal(signal.SIGTERM, 'before_train_iter', 5))
    assert stopped.value.code == 143
    assert (work_dir / 'stopped_iter_5.pth').exists()
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'stopped_iter_5.pth')
    assert '--resume' in capfd.readouterr().err
    # In the first of six images of the second validation: it does not wait for the others.
    with pytest.raises(Stopped) as stopped:
        train(config, work_dir, Signal(signal.SIGINT, 'after_val_iter', 1))
    assert stopped.value.code == 130
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    train(config, work_dir)
    assert not list(work_dir.glob('stopped_*'))
    assert list(differences(outcome(work_dir), undisturbed(loop))) == []


def wait_for_signals(ready):
    with StopSignals():
        ready.set()
        while True:
            time.sleep(0.01)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number):
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=wait_for_signals, args=(ready,), daemon=True)
    process.start()
    assert ready.wait(30)
    # torchrun passes on what the terminal has sent already: the same request.
    for _ in range(3):
        os.kill(process.pid, number)
        time.sleep(0.1)
    assert process.is_alive()
    time.sleep(SAME_REQUEST)
    os.kill(process.pid, number)
    process.join(10)
    assert process.exitcode == 128 + number


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        time.sleep(0.01)
        return index, os.getpid()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_workers_leave_signals_to_the_main_process(number):
    loader = DataLoader(Numbers(), batch_size=5, num_workers=2, worker_init_fn=CalmWorker(None))
    seen = []
    for step, (indices, workers) in enumerate(loader):
        seen += indices.tolist()
        if step == 1:
            for worker in set(workers.tolist()):
                os.kill(worker, number)
    assert seen == list(range(100))
