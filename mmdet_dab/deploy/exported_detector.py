"""An exported file in the place of a detector, so that what ships is what is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample, SampleList
from mmdet.structures.bbox import scale_boxes
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_dab.deploy.backends import load_backend
from mmdet_dab.errors import ConfigError
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class ExportedDetector(BaseModel):
    """Predicts with an exported file; data come from the ordinary test pipeline.

    Args:
        path: the file.
        data_preprocessor: config, as that of the detector. A file that normalises by itself gets
            images that are only padded.
        classes: that the data have; None: not known.
        trusted: load a ``.pt2`` file, which may run code.

    Raises:
        ConfigError: the file detects other classes.
    """

    def __init__(
        self, path: str, data_preprocessor: dict, classes: Sequence[str] | None = None, trusted: bool = False
    ) -> None:
        self.backend = load_backend(path, trusted=trusted)
        found = self.backend.metadata.classes
        if classes is not None and tuple(classes) != found:
            raise ConfigError(
                f'{path} detects {", ".join(found)}, but test_dataloader.dataset.metainfo.classes is '
                f'{", ".join(classes)}. Name the config that the file was exported from.'
            )
        self.takes_pixels = self.backend.metadata.input == 'uint8'
        if self.takes_pixels:
            data_preprocessor = {**data_preprocessor, 'mean': None, 'std': None}
        super().__init__(data_preprocessor=data_preprocessor)

    def forward(self, inputs: Tensor, data_samples: SampleList | None = None, mode: str = 'tensor') -> Any:
        """Predict a batch (B, 3, H, W); ``mode`` must be ``'predict'``.

        Raises:
            ValueError: another mode; an exported file cannot train.
        """
        if mode != 'predict' or data_samples is None:
            raise ValueError(f'mode={mode!r}: an exported detector can only predict')
        given = self.graph_inputs(inputs, data_samples)
        for row in zip(data_samples, given['valid_sizes'].tolist(), *self.backend.run(**given), strict=True):
            self.fill(*row)
        return data_samples

    def graph_inputs(self, inputs: Tensor, data_samples: SampleList) -> dict[str, np.ndarray]:
        """What the file is given of a batch (B, 3, H, W): ``images`` and ``valid_sizes`` (B, 2)."""
        valid = np.array([sample.img_shape[:2] for sample in data_samples], dtype=np.int64)
        images = inputs.cpu().numpy().astype(np.uint8 if self.takes_pixels else np.float32)
        return dict(images=images, valid_sizes=valid)

    @staticmethod
    def fill(sample: DetDataSample, valid: list[int], scores: Any, labels: Any, boxes: Any) -> None:
        """Give a sample its predictions, in pixels of the image as it was loaded."""
        height, width = valid
        pixels = torch.from_numpy(boxes * np.array([width, height, width, height], dtype=np.float32))
        factors = sample.metainfo.get('scale_factor', (1, 1))
        sample.pred_instances = InstanceData(
            scores=torch.from_numpy(scores),
            labels=torch.from_numpy(labels).long(),
            bboxes=scale_boxes(pixels, tuple(1 / factor for factor in factors)),
        )


def put_in_place(cfg: Config, path: Path, *, trusted: bool = False) -> None:
    """Let a config test an exported file instead of its detector.

    Args:
        cfg: its model is replaced.
        path: the file.
        trusted: load a ``.pt2`` file, which may run code.
    """
    cfg.model = dict(
        type='mmdet_dab.ExportedDetector',
        path=str(path),
        data_preprocessor=cfg.model.get('data_preprocessor') or {},
        classes=(cfg.test_dataloader.dataset.get('metainfo') or {}).get('classes'),
        trusted=trusted,
    )
    cfg.custom_hooks = []
