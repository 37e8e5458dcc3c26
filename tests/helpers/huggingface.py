"""A tiny DAB-DETR of ours and of ``transformers``, which can have the same weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from tests.helpers import tiny
from tests.helpers.golden import make_weight

#: Of a tiny detector: a ResNet of four stages, boxes at temperature 10000, σ⁻¹ clamped at 1e-5, as their code has it.
THEIR_WAY: dict[str, Any] = dict(
    backbone=dict(num_stages=4, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), out_indices=(3,)),
    neck=dict(in_channels=[64]),
    positional_encoder=dict(box_temperature=10000),
    encoder=dict(num_layers=2),
    decoder=dict(anchor_update=dict(eps=1e-5)),
    bbox_head=dict(eps=1e-5),
)


def build_ours(**overrides: Any) -> nn.Module:
    config = Config(copy.deepcopy(THEIR_WAY))
    config.merge_from_dict(overrides)
    return tiny.build(**config)


def build_theirs(**settings: Any) -> nn.Module:
    """Their detector of the same size, with weights by their names and statistics of batch norm that count."""
    from transformers import DabDetrConfig, DabDetrForObjectDetection, ResNetConfig

    resnet = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[2, 2, 2, 2], layer_type='basic', out_features=['stage4']
    )
    model = DabDetrForObjectDetection(
        DabDetrConfig(
            backbone_config=resnet,
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            hidden_size=tiny.WIDTH,
            num_queries=7,
            num_labels=3,
            encoder_layers=2,
            encoder_ffn_dim=512,
            decoder_layers=3,
            decoder_ffn_dim=512,
            **settings,
        )
    )
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            name = name.replace('decoder.bbox_embed', 'bbox_predictor')  # one tensor under two names
            name = name.replace('normalization.weight', 'backbone.norm.weight')
            tensor.copy_(torch.from_numpy(make_weight(name, list(tensor.shape))))
        model.model.query_refpoint_embeddings.weight.normal_(generator=torch.Generator().manual_seed(1))
    return model.eval()


def outputs(ours: nn.Module, theirs: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Logits and boxes of the last layer, of both, for two pictures of which one is padded."""
    pictures, samples = tiny.batch()
    mask = torch.zeros(len(samples), *pictures.shape[2:], dtype=torch.long)
    for row, sample in zip(mask, samples, strict=True):
        row[: sample.img_shape[0], : sample.img_shape[1]] = 1
    with torch.no_grad():
        logits, boxes = ours(pictures, samples, mode='tensor')
        expected = theirs(pictures, mask)
    assert (boxes[-1] - boxes[0]).abs().max() > 1e-2, 'the layers do nothing'
    return [(logits[-1], expected.logits), (boxes[-1], expected.pred_boxes)]


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for found, expected in outputs(ours, theirs):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
