"""The configs that mix mmdet's parts with ours, made small."""

from __future__ import annotations

import copy

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from tests.helpers import tiny
from tests.helpers.mmdet_models import BACKBONE, replace_everywhere

#: Config -> its base, the keys of the model that it exchanges, and those that it adds.
MIXES = {
    'mmdet_detr_matcher_r50_150e': ('detr/detr_r50_8xb2-150e_coco', {'train_cfg'}),
    'mmdet_detr_encoding_r50_150e': ('detr/detr_r50_8xb2-150e_coco', {'type', 'positional_encoding'}),
    'mmdet_conditional_detr_anchors_r50_50e': (
        'conditional_detr/conditional-detr_r50_8xb2-50e_coco',
        {'type', 'positional_encoding', 'query_generator', 'decoder', 'bbox_head'},
    ),
    'mmdet_dab_detr_decoder_r50_50e': ('dab_detr/dab-detr_r50_8xb2-50e_coco', {'type', 'decoder'}),
    'mmdet_deformable_detr_decoder_r50_50e': (
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
        {'type', 'query_generator', 'decoder', 'with_box_refine', 'train_cfg'},
    ),
    'mmdet_dino_matcher_r50_12e': ('dino/dino-4scale_r50_8xb2-12e_coco', {'train_cfg'}),
    'mmdet_dino_parts_r50_12e': (
        'dino/dino-4scale_r50_8xb2-12e_coco',
        {'type', 'positional_encoding', 'query_generator', 'decoder', 'bbox_head', 'as_two_stage', 'dn_cfg'},
    ),
}
WIDTH = 32


def shrunk(config: Config) -> ConfigDict:
    """2 + 2 layers, 7 queries, 3 classes, narrow, a small ResNet; what else it says stays."""
    model = copy.deepcopy(config.model)
    # mmdet's DINO encodes boxes in 512 channels, whatever its config says.
    width = 256 if model.type == 'DINO' else WIDTH
    sizes = dict(embed_dims=width, num_layers=2, num_queries=7, num_classes=3, max_per_img=5, num_feats=width // 2)
    replace_everywhere(model, **sizes, hidden_dims=64, feedforward_channels=64)
    queries = model.get('query_generator')
    if queries is not None:  # a part of ours, whose number is a default
        queries.get('generator', queries).num_queries = 7
    levels = len(model.neck.in_channels)
    config = Config(dict(model=model))
    config.merge_from_dict(dict(model=dict(backbone=BACKBONE)))
    config.model.backbone.out_indices = (0, 1, 2)[-levels:]
    config.model.neck.update(in_channels=[8, 16, 32][-levels:], out_channels=width, norm_cfg=None)
    config.model.bbox_head.embed_dims = width
    return config.model


def step_and_predict(model: nn.Module) -> dict[str, Tensor]:
    """Losses of a training step, whose gradients are left in the model; then a prediction."""
    torch.manual_seed(0)
    model.init_weights()
    losses = model.train()(*tiny.batch(), mode='loss')
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    with torch.no_grad():
        first, second = model.eval()(*tiny.batch(), mode='predict')
    for sample in (first, second):
        assert 0 < len(sample.pred_instances) <= 7 * 3
        assert sample.pred_instances.bboxes.isfinite().all()
    return losses
