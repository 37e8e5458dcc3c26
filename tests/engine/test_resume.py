"""A training run that is killed and goes on ends as if nothing had happened, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from benchmarks.interruptions import differences, outcome
from tests.helpers.interrupted import Bomb, Killed, interrupted_config, train
from tests.helpers.paths import ROOT

#: In the middle of an epoch, in its last step, while a file is written, in a validation, behind
#: the best checkpoint.
KILLS = [
    ('before_train_iter', 4, 'LOWEST'),
    ('after_train_iter', 4, 'LOWEST'),
    ('before_save_checkpoint', 2, 'LOWEST'),
    ('after_val_iter', 2, 'LOWEST'),
    ('after_val', 1, 'HIGHEST'),
]


@pytest.mark.usefixtures('quiet_runner')
@pytest.mark.parametrize(('loop', 'workers'), [('epoch', 0), ('iter', 1)])
def test_five_kills_make_no_difference(loop, workers, undisturbed, tmp_path):
    config = interrupted_config(tmp_path, loop)
    config.train_dataloader.num_workers = workers
    for kill in KILLS:
        # Another process has other random numbers.
        random.seed()
        np.random.seed()
        torch.seed()
        with pytest.raises(Killed):
            train(config, tmp_path / 'work', Bomb(*kill))
    train(config, tmp_path / 'work')
    assert list(differences(outcome(tmp_path / 'work'), undisturbed(loop))) == []


@pytest.mark.slow
@pytest.mark.usefixtures('quiet_runner')
def test_gathered_gradients_and_patience_are_kept(tmp_path):
    """Five steps make an update, so that checkpoints lie between; the third validation ends it."""
    config = interrupted_config(tmp_path, optim_wrapper=dict(accumulative_counts=5))
    config.custom_hooks.append(dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', rule='greater', patience=2))
    train(config, tmp_path / 'undisturbed')
    for kill in KILLS[:4]:
        torch.seed()
        with pytest.raises(Killed):
            train(config, tmp_path / 'work', Bomb(*kill))
    train(config, tmp_path / 'work')
    left = outcome(tmp_path / 'work')
    assert 'iter_8.pth' in left
    assert 'iter_10.pth' not in left
    assert 'gradients' in left['iter_8.pth']
    assert list(differences(left, outcome(tmp_path / 'undisturbed'))) == []


@pytest.mark.slow
def test_processes_are_killed_and_asked_to_stop(undisturbed, tmp_path):
    """SIGKILL, then SIGTERM, then to the end, with the command that users type."""
    config = interrupted_config(tmp_path)
    work_dir = tmp_path / 'work'
    path = tmp_path / 'interrupted.py'
    config.dump(path)
    command = [sys.executable, ROOT / 'tools' / 'train.py', path, '--work-dir', work_dir, '--resume']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}

    def started():
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)

    def wait_for(file, process):
        while not (work_dir / file).exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)

    process = started()
    wait_for('iter_4.pth', process)
    process.kill()
    process.communicate()
    process = started()
    wait_for('iter_6.pth', process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert '--resume' in said
    process = started()
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert list(differences(outcome(work_dir), undisturbed('epoch'))) == []
