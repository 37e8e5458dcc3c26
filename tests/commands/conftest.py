"""A tiny task, and one epoch trained on it, for all tests of the tools."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mmdet_dab
from tests.helpers.commands import Commands, run_tool
from tests.helpers.tiny_task import CLASSES, Task, make_task


@pytest.fixture(scope='session')
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp('task'))


@pytest.fixture(scope='session')
def trained(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of one epoch of three iterations."""
    work_dir = tmp_path_factory.mktemp('trained')
    result = run_tool('train.py', task.config, '--work-dir', work_dir, *task.options, cwd=task.config.parent)
    assert result.returncode == 0, result.stderr
    return work_dir


@pytest.fixture
def weights(task: Task, tmp_path: Path) -> Path:
    """A checkpoint of random weights that fits the task."""
    model = mmdet_dab.build(task.config)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    """Runs ``mmdet-dab`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capfd)
