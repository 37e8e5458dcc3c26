"""MMEngine's backend for MLflow, as far as MLflow has changed since."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mmengine.visualization import vis_backend

from mmdet_dab.registry import VISBACKENDS


@VISBACKENDS.register_module()
class MLflowVisBackend(vis_backend.MLflowVisBackend):
    """Takes the place of MMEngine's, with the same arguments.

    MMEngine names images without an ending, at which MLflow ends the run, and has MLflow write
    files where no ``tracking_uri`` names a server, which MLflow 3 wants to be told is meant.
    """

    def _init_env(self) -> None:
        if self._tracking_uri is None:
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        super()._init_env()

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Log an image (H, W, 3), RGB, as ``NAME_STEP.png``."""
        super().add_image(f'{name}_{step}.png', image, step, **kwargs)
