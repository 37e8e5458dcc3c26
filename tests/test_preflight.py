"""Visualizer backends whose package is missing are named before work starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmdet_dab.errors import InstallError
from mmdet_dab.preflight import BACKENDS, check_backends
from tests.helpers.commands import Commands


def config(*types: str) -> Config:
    return Config(dict(visualizer=dict(vis_backends=[dict(type=name) for name in types])))


@pytest.mark.parametrize('name', ['WandbVisBackend', 'mmdet.MLflowVisBackend'])
def test_a_missing_package_is_named_with_its_line(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda module: None)
    package = BACKENDS[name.rpartition('.')[2]][1]
    with pytest.raises(InstallError) as refused:
        check_backends(config('LocalVisBackend', name))
    for word in ('visualizer.vis_backends.1', name.rpartition('.')[2], f'pip install {package}'):
        assert word in str(refused.value)


def test_what_is_installed_or_needs_nothing_passes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda module: object())
    check_backends(config('LocalVisBackend', *BACKENDS))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda module: None)
    check_backends(config('LocalVisBackend', 'MyVisBackend'))
    check_backends(Config(dict(model=dict(type='X'))))


def test_every_backend_of_mmengine_is_known():
    from mmengine.visualization import vis_backend

    theirs = {name for name in vars(vis_backend) if name.endswith('VisBackend')}
    assert theirs - {'BaseVisBackend', 'LocalVisBackend'} == set(BACKENDS)


def test_train_says_so_before_anything_heavy_is_imported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'wandb' else real(name, *a))
    file = tmp_path / 'mine.py'
    backends = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='WandbVisBackend')])"
    file.write_text(f"_base_ = 'mmdet_dab::shapes/demo.py'\n{backends}\n")
    command: Any = Commands(monkeypatch, capfd)
    assert 'pip install wandb' in command.error('train', file)
    assert 'loading PyTorch' not in capfd.readouterr().err


@pytest.mark.parametrize('command', ['train', 'test'])
def test_drawing_of_images_that_are_in_no_file_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    """The hook reads them again, and would fail at the first validation."""
    monkeypatch.chdir(tmp_path)
    options = {
        'train': ('--cfg-options', 'default_hooks.visualization.draw=True'),
        'test': ('gone.pth', '--show-dir', 'shown'),
    }[command]
    line = Commands(monkeypatch, capfd).error(command, 'shapes/demo', *options)
    for word in ('visualization.draw', '--show-dir', 'leave it out'):
        assert word in line
