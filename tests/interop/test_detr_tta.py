"""Two views of an image, merged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import nn

from mmdet_dab.errors import ConfigError
from mmdet_dab.interop.detr_tta import DetrTTA, mirror_in_test, with_mirrored

PIPELINE = [
    dict(type='LoadImageFromNDArray'),
    dict(type='Resize', scale=(64, 32), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('ori_shape', 'img_shape', 'scale_factor')),
]


class Brightest(nn.Module):
    """A detector of the brightest column; half as sure of what it sees in the right half."""

    def test_step(self, data: dict) -> list[DetDataSample]:
        samples = []
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            column = int(image[0].float().mean(0).argmax())
            scale = sample.metainfo['scale_factor'][0]
            box = torch.tensor([[column / scale, 0, (column + 1) / scale, 16]], dtype=torch.float32)
            score = torch.tensor([0.8 if column < image.shape[2] / 2 else 0.4])
            sample.pred_instances = InstanceData(bboxes=box, scores=score, labels=torch.tensor([1]))
            samples.append(sample)
        return samples


def image() -> np.ndarray:
    """(16, 32, 3), bright in column 20 to 22."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 20:22] = 200
    return pixels


def test_views_are_brought_back_and_merged():
    """Column 20 lies in the right half (score 0.4), mirrored in the left one (0.8).

    The detector sees columns 40 to 44 of 64, of which resizing leaves 41 brightest, or its neighbour. Both boxes are
    where the column is; the better one leads, and the other, with an IoU of c, is lowered to 0.4 · exp(−c² / 0.5).
    """
    steps = Compose([TRANSFORMS.build(step) for step in with_mirrored(PIPELINE)])
    (sample,) = DetrTTA(module=Brightest()).test_step(pseudo_collate([steps(dict(img=image()))]))
    found = sample.pred_instances
    assert len(found) == 1, 'as many as one view has'
    assert found.scores.tolist() == [pytest.approx(0.8)]
    assert 20 <= found.bboxes[0, 0] < found.bboxes[0, 2] <= 22
    assert not sample.metainfo['flip'], 'the sample is that of the image as it is'


def view(boxes: list[list[float]], scores: list[float], labels: list[int], flip: bool) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(ori_shape=(10, 100), flip=flip, flip_direction='horizontal'))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes), scores=torch.tensor(scores), labels=torch.tensor(labels)
    )
    return sample


def merged(plain: DetDataSample, **more: float) -> InstanceData:
    """With a mirrored view that has a box of each class at the left edge."""
    mirrored = view([[90, 0, 100, 10], [90, 0, 100, 10.0]], [0.4, 0.2], [0, 1], flip=True)
    return DetrTTA(module=Brightest(), **more)._merge_single_sample([plain, mirrored]).pred_instances


def test_what_both_views_find_is_lowered_once():
    """IoU 1: 0.4 · exp(−1 / 0.5) = 0.054; another class and another place keep their scores."""

    def plain() -> DetDataSample:
        return view([[0, 0, 10, 10], [40, 0, 50, 10.0]], [0.9, 0.3], [0, 0], flip=False)

    found = merged(plain())
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    assert found.bboxes[:, 0].tolist() == [0, 40]
    found = merged(plain(), sigma=1e9)  # lowers nothing
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])
    found = merged(view([[0, 0, 10, 10.0]] * 3, [0.9, 0.01, 0.01], [0, 0, 0], flip=False))
    assert found.scores.tolist() == pytest.approx([0.9, 0.2, 0.4 * math.exp(-2)])
    assert found.labels.tolist() == [0, 1, 0]


def test_a_config_is_changed_and_its_own_way_is_kept():
    config = Config(dict(model=dict(type='Anything'), test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    mirror_in_test(config)
    assert config.model.type == 'mmdet_dab.DetrTTA'
    assert config.model.module.type == 'Anything'
    assert config.test_dataloader.dataset.pipeline[-1].type == 'TestTimeAug'
    own: Any = Config(
        dict(
            model=dict(type='Anything'),
            test_dataloader=dict(dataset=dict(dataset=dict(pipeline=PIPELINE))),
            tta_model=dict(type='Mine'),
            tta_pipeline=[dict(type='Load')],
        )
    )
    mirror_in_test(own)
    assert (own.model.type, own.model.module.type) == ('Mine', 'Anything')
    assert [step.type for step in own.test_dataloader.dataset.dataset.pipeline] == ['Load']
    assert MODELS.get('mmdet_dab.DetrTTA') is DetrTTA


def test_a_pipeline_that_is_not_packed_at_its_end_is_refused():
    with pytest.raises(ConfigError, match=r'Resize.*tta_pipeline'):
        with_mirrored(PIPELINE[:2])
