"""Work directories, resuming, and what the console shows of a log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer

from mmdet_dab import launch
from mmdet_dab.commands import train
from mmdet_dab.errors import CheckpointError
from tests.helpers import training
from tests.helpers.interrupted import interrupted_config


def test_work_dir_comes_from_the_command_line_then_the_config_then_its_name(tmp_path: Path):
    path = tmp_path / 'tiny.py'
    path.write_text('')
    cfg = Config.fromfile(path)
    launch.set_work_dir(cfg, None)
    assert cfg.work_dir == 'work_dirs/tiny'
    cfg.work_dir = 'of/config'
    launch.set_work_dir(cfg, None)
    assert cfg.work_dir == 'of/config'
    launch.set_work_dir(cfg, 'of/command')
    assert cfg.work_dir == 'of/command'


def test_nothing_to_resume_from_keeps_the_weights_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cfg = Config(dict(load_from='pretrained.pth', resume=False, work_dir=str(tmp_path)))
    train.resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'pretrained.pth')
    assert str(tmp_path) in capsys.readouterr().out


def test_the_console_leaves_out_long_records_and_losses_of_single_layers():
    records = {
        'paramwise_options -- backbone.conv1.weight:lr=1e-05': False,
        'Config:\nmodel = dict()': False,
        'Epoch(train) [1][1/3]  loss: 2.0000': True,
    }
    for text, shown in records.items():
        record = logging.LogRecord('x', logging.INFO, 'x.py', 1, text, None, None)
        assert launch._is_short(record) is shown, text
    text = 'lr: 1e-4  loss: 9.0  loss_cls: 1.0  d0.loss_cls: 2.0  d0.loss_iou: 3.0  d1.loss_cls: 2.0  grad_norm: 4'
    record = logging.LogRecord('x', logging.INFO, 'x.py', 1, text, None, None)
    assert launch._Brief(logging.Formatter()).format(record) == 'lr: 1e-4  loss: 9.0  loss_cls: 1.0  grad_norm: 4'


def test_runs_of_one_process_log_to_their_own_folders(tmp_path: Path):
    """MMEngine keeps visualizers by name, and a hook of mmdet takes the newest."""
    runners = [training.build(training.config_of(tmp_path / name)) for name in ('first', 'second')]
    for runner, name in zip(runners, ('first', 'second'), strict=True):
        runner.visualizer.add_scalar('loss', 1.0)
        assert list((tmp_path / name).glob('work/*/vis_data/scalars.json'))
    assert Visualizer.get_current_instance() is runners[-1].visualizer


def test_a_list_of_hooks_in_the_config_leaves_out_no_guard(tmp_path: Path):
    """``custom_hooks`` of a config replaces the list of its base."""
    config = interrupted_config(tmp_path, work_dir=str(tmp_path / 'work'))
    config.custom_hooks = []
    config.default_hooks.pop('resume')
    torch.save({'state_dict': {'other.weight': torch.zeros(3)}}, tmp_path / 'other.pth')
    config.load_from = str(tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other\.pth'):
        training.build(config).test()
