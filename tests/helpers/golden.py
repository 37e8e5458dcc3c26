"""The authors' released code as an oracle: its figures, and the rules that make its weights and pictures.

See ``tests/data/golden/README.md``.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

DATA = Path(__file__).parents[1] / 'data' / 'golden'


@dataclass
class GoldenCase:
    """One case: what to build and what came out."""

    spec: dict
    outcome: dict[str, np.ndarray]

    @classmethod
    def load(cls, name: str) -> GoldenCase:
        with np.load(DATA / f'{name}.npz') as arrays:
            return cls(json.loads((DATA / f'{name}.json').read_text()), dict(arrays))

    def checkpoint(self) -> dict:
        """A checkpoint as the authors release it."""
        state = {}
        for name, shape in self.spec['parameters'].items():
            source = self.spec['tied'].get(name, name)
            state[name] = torch.from_numpy(make_weight(source, shape))
        return {'model': state}

    def pictures(self) -> Tensor:
        """(2, 3, H, W), normalised, padded at the right and below."""
        rng = np.random.default_rng(self.spec['image_seed'])
        batch = np.zeros((2, 3, *self.spec['size']), np.float32)
        for picture, (height, width) in zip(batch, self.spec['valid'], strict=True):
            picture[:, :height, :width] = rng.standard_normal((3, height, width)).astype(np.float32)
        return torch.from_numpy(batch)

    def data_samples(self) -> list[DetDataSample]:
        """The pictures' sizes and the targets, as mmdet has them (boxes x1 y1 x2 y2 in pixels)."""
        samples = []
        for (height, width), target in zip(self.spec['valid'], self.spec['targets'], strict=True):
            cx, cy, w, h = torch.tensor(target['boxes']).unbind(1)
            corners = torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), 1)
            truth = InstanceData(
                bboxes=corners * torch.tensor([width, height, width, height]), labels=torch.tensor(target['labels'])
            )
            sample = DetDataSample(gt_instances=truth)
            sample.set_metainfo(
                dict(
                    img_shape=(height, width),
                    batch_input_shape=tuple(self.spec['size']),
                    ori_shape=(height, width),
                    scale_factor=(1.0, 1.0),
                )
            )
            samples.append(sample)
        return samples


def make_weight(name: str, shape: list[int]) -> np.ndarray:
    """The rule for a weight: the first row of the README's table that fits."""
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    is_weight = name.endswith('weight')
    if name.endswith('running_var'):
        return 1 + 0.1 * np.abs(z)
    if name.endswith('running_mean'):
        return 0.1 * z
    if len(shape) == 1:
        if is_weight and tuple(shape) == (1,):
            return 0.25 + 0.01 * z
        if is_weight and name.startswith('backbone'):
            return 0.5 + 0.05 * z
        return 1 + 0.1 * z if is_weight else 0.1 * z
    if any(word in name for word in ('refpoint_embed', 'patterns', 'tgt_embed', 'level_embed')):
        return z
    fan_in = np.prod(shape[1:])
    return (z * np.sqrt((2 if len(shape) == 4 else 1) / fan_in)).astype(np.float32)
