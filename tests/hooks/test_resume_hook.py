"""What a training run says when it goes on with another config."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.hooks import Hook

from mmdet_dab.checkpoints.loading import read_checkpoint
from tests.helpers.interrupted import Bomb, Killed, interrupted_config, train
from tests.helpers.training import build

pytestmark = pytest.mark.usefixtures('quiet_runner')


class Listener(Hook):
    """Collects the warnings of a training run."""

    priority = 'HIGHEST'

    def __init__(self):
        self.texts = []

    def before_run(self, runner):
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.texts.append(record.getMessage())
        runner.logger.addHandler(handler)


def warnings_of(config, work_dir):
    """What is said when a training run goes on."""
    listener = Listener()
    train(config, work_dir, listener)
    return [text for text in listener.texts if 'FileClient' not in text]


@pytest.fixture
def stopped(tmp_path):
    """A config and the work directory of a training run that ended after 6 of 12 steps."""
    config = interrupted_config(tmp_path)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.param_scheduler = [dict(type='CosineAnnealingLR', T_max=4, by_epoch=True)]
    with pytest.raises(Killed):
        train(config, tmp_path / 'work', Bomb('before_train_iter', 7, 'LOWEST'))
    return config, tmp_path / 'work'


def last_rate(work_dir):
    path = max(work_dir.glob('iter_*.pth'), key=lambda path: int(path.stem[5:]))
    checkpoint = read_checkpoint(path)
    return checkpoint['meta']['iter'], checkpoint['optimizer']['param_groups'][0]['lr']


def test_the_same_config_needs_no_words(stopped):
    assert warnings_of(*stopped) == []


def test_a_longer_training_keeps_its_schedule_and_says_so(stopped):
    config, work_dir = stopped
    config.train_cfg.max_epochs = 6
    config.param_scheduler[0].T_max = 6
    told = ' '.join(warnings_of(config, work_dir))
    assert 'max_epochs is 6' in told
    assert 'T_max is 4, in the config 6' in told
    assert '--refit-schedule' in told


def test_a_schedule_is_refitted_on_request(stopped, tmp_path):
    config, work_dir = stopped
    config.train_cfg.max_epochs = 6
    config.param_scheduler[0].T_max = 6
    config.default_hooks.resume.refit_schedule = True
    warnings_of(config, work_dir)
    fresh = config.copy()
    train(fresh, tmp_path / 'fresh')
    assert last_rate(work_dir) == last_rate(tmp_path / 'fresh')


def test_another_batch_size_goes_on_with_the_same_images(stopped):
    config, work_dir = stopped
    config.train_dataloader.batch_size = 3
    told = ' '.join(warnings_of(config, work_dir))
    assert '1 × 3' in told
    assert '1 × 2' in told


def test_nothing_is_left_to_train(stopped):
    config, work_dir = stopped
    config.train_cfg.max_epochs = 1
    told = ' '.join(warnings_of(config, work_dir))
    assert 'nothing is left' in told
    assert 'max_epochs' in told


def test_loops_of_mmengine_are_told_apart(stopped):
    config, work_dir = stopped
    config.train_cfg.type = 'EpochBasedTrainLoop'
    assert 'ResumableEpochLoop' in ' '.join(warnings_of(config, work_dir))


class Seen(Hook):
    """The weights that predict."""

    priority = 'LOWEST'

    def __init__(self):
        self.weights = {}

    def _see(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights = {name: weight.clone() for name, weight in runner.model.named_parameters()}

    after_val_iter = after_test_iter = _see


@pytest.mark.parametrize('split', ['test', 'val'])
def test_what_was_averaged_is_what_is_tested_after_training(split, tmp_path):
    """In one process, the model's weights at a test are those that the last checkpoint gives a user."""
    config = interrupted_config(tmp_path, work_dir=str(tmp_path / 'work'))
    config.val_dataloader.dataset.indices = 1
    config.test_dataloader = config.val_dataloader
    runner = build(config)
    seen = Seen()
    runner.register_hook(seen, 'LOWEST')
    runner.train()
    raw = {name: weight.clone() for name, weight in runner.model.named_parameters()}
    seen.weights = {}
    getattr(runner, split)()
    saved = read_checkpoint(tmp_path / 'work/iter_12.pth')['state_dict']
    assert seen.weights
    assert all(torch.equal(weight, saved[name]) for name, weight in seen.weights.items())
    assert any(not torch.equal(weight, raw[name]) for name, weight in seen.weights.items())
    assert all(torch.equal(weight, raw[name]) for name, weight in runner.model.named_parameters()), 'put back'
