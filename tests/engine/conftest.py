"""Training runs of few steps, quiet ones and one that nobody disturbs."""

import pytest
from mmengine.config import Config
from mmengine.runner import runner

from benchmarks.interruptions import outcome
from tests.helpers.interrupted import interrupted_config, train


@pytest.fixture
def quiet_runner(monkeypatch):
    """Runners that neither print their config nor ask the machine for its compilers."""
    monkeypatch.setattr(Config, 'pretty_text', 'the config')
    monkeypatch.setattr(runner, 'collect_env', dict)


@pytest.fixture(scope='session')
def undisturbed(tmp_path_factory):
    """What training runs leave that nobody disturbs, by the name of their loop."""
    results = {}

    def result(loop):
        if loop not in results:
            folder = tmp_path_factory.mktemp(loop)
            train(interrupted_config(folder, loop), folder / 'work')
            results[loop] = outcome(folder / 'work')
        return results[loop]

    return result
