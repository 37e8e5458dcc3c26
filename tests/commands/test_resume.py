"""Going on, and keeping others out, from the command line."""

from __future__ import annotations

import multiprocessing
import time

import pytest
import torch
from mmengine.config import Config

from mmdet_dab.commands.train import scale_learning_rate
from mmdet_dab.engine import work_dir_lock
from mmdet_dab.errors import CheckpointError, ConfigError, UserError
from tests.helpers.commands import call

CONTEXT = multiprocessing.get_context('fork')


def hold(folder, ready):
    with work_dir_lock(folder):
        ready.set()
        time.sleep(120)


def test_a_second_training_run_in_a_work_directory_is_refused(task, tmp_path):
    ready = CONTEXT.Event()
    holder = CONTEXT.Process(target=hold, args=(tmp_path / 'work', ready), daemon=True)
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UserError, match=f'process {holder.pid} on'):
            call('train', task.config, '--work-dir', tmp_path / 'work', *task.options)
        # Before anything is written there.
        assert [path.name for path in (tmp_path / 'work').iterdir()] == ['training.lock']
    finally:
        holder.kill()
        holder.join()


def test_a_damaged_checkpoint_is_not_resumed(task, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1000)}, 'meta': {}}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'epoch_1\.pth is damaged'):
        call('train', task.config, '--work-dir', tmp_path / 'work', '--resume', path, *task.options)


def test_refitting_is_for_resuming(task, tmp_path):
    with pytest.raises(ConfigError, match='--resume'):
        call('train', task.config, '--work-dir', tmp_path / 'work', '--refit-schedule', *task.options)


@pytest.mark.parametrize(('gathered', 'base'), [(None, 16), (1, 16), (4, 4)])
def test_the_learning_rate_counts_gathered_steps(gathered, base):
    wrapper = {} if gathered is None else {'accumulative_counts': gathered}
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=16, enable=False), optim_wrapper=wrapper))
    scale_learning_rate(cfg)
    assert cfg.auto_scale_lr == {'base_batch_size': base, 'enable': True}
