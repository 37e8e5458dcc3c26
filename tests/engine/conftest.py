"""Trainings of few steps: mmengine's printing of configs and machine would take longer than they do."""

import pytest
from mmengine.config import Config
from mmengine.runner import runner


@pytest.fixture
def quiet_runner(monkeypatch):
    """Runners that neither print their config nor ask the machine for its compilers."""
    monkeypatch.setattr(Config, 'pretty_text', 'the config')
    monkeypatch.setattr(runner, 'collect_env', dict)
