"""MLflow is given images with an ending, and may write files where no server is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

import mmdet_dab.parts  # noqa: F401  (registers the backend)
from mmdet_dab.engine import MLflowVisBackend


class StandIn(SimpleNamespace):
    """What is asked of MLflow, noted."""

    def __init__(self) -> None:
        super().__init__(images=[], metrics=[], uri=None)
        for name in ('get_experiment_by_name', 'create_experiment', 'set_experiment', 'log_params', 'log_text'):
            setattr(self, name, lambda *arguments, **options: None)

    def set_tracking_uri(self, uri: str) -> None:
        self.uri = uri

    def log_image(self, image: np.ndarray, name: str) -> None:
        assert Path(name).suffix, 'PIL cannot tell the format'
        self.images.append(name)

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.metrics.append((step, values))


@pytest.mark.parametrize(('server', 'allowed'), [(None, 'true'), ('http://localhost:5000', None)])
def test_the_bare_name_of_a_config_is_ours(
    server: str | None, allowed: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, 'mlflow', stand_in)
    # The backend looks through MMEngine's current logger, which may be that of another test.
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [])
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', '')  # so that what is set is undone
    monkeypatch.delenv('MLFLOW_ALLOW_FILE_STORE')
    backend = dict(type='MLflowVisBackend', tracking_uri=server)
    visualizer = Visualizer(vis_backends=[backend], save_dir=str(tmp_path))
    (built,) = visualizer._vis_backends.values()
    assert isinstance(built, MLflowVisBackend)
    visualizer.add_config(Config(dict(a=1)))
    visualizer.add_image('val_img', np.zeros((4, 4, 3), np.uint8), step=7)
    visualizer.add_scalars(dict(loss=1.0), step=7)
    assert stand_in.images == ['val_img_7.png']
    assert stand_in.metrics == [(7, dict(loss=1.0))]
    assert stand_in.uri == (server or f'file://{tmp_path}/vis_data')
    assert os.environ.get('MLFLOW_ALLOW_FILE_STORE') == allowed
