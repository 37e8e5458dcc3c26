"""Exactness: mmdet's own DABDETR, given our weights, computes the same."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS

from mmdet_dab.checkpoints import recognise
from mmdet_dab.checkpoints.mmdet import MMDET
from tests.helpers import tiny
from tests.helpers.tiny import BATCHES


def twin(ours, **decoder):
    """mmdet's DABDETR of the same size with the same weights."""
    config = tiny.tiny_config()
    attention = dict(embed_dims=tiny.WIDTH, num_heads=8)
    ffn = dict(embed_dims=tiny.WIDTH, feedforward_channels=512, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type='PReLU'))
    free = dict(attn_drop=0.0, proj_drop=0.0)
    patterns = ours.query_generator.patterns
    theirs = MMDET_MODELS.build(
        dict(
            type='DABDETR',
            num_queries=7,
            num_patterns=0 if patterns is None else len(patterns),
            backbone=config.backbone,
            neck=config.neck,
            positional_encoding=dict(num_feats=tiny.WIDTH // 2, temperature=20, normalize=True),
            encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=dict(**attention, batch_first=True), ffn_cfg=ffn)),
            decoder=dict(
                num_layers=3,
                return_intermediate=True,
                layer_cfg=dict(
                    self_attn_cfg=dict(**attention, **free, cross_attn=False),
                    cross_attn_cfg=dict(**attention, **free, cross_attn=True),
                    ffn_cfg=ffn,
                ),
                **decoder,
            ),
            bbox_head=dict(
                type='DABDETRHead',
                num_classes=3,
                embed_dims=tiny.WIDTH,
                loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
                loss_bbox=dict(type='L1Loss', loss_weight=5.0),
                loss_iou=dict(type='GIoULoss', loss_weight=2.0),
            ),
            train_cfg=dict(
                assigner=dict(
                    type='HungarianAssigner',
                    match_costs=[
                        dict(type='FocalLossCost', weight=2.0, eps=1e-8),
                        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                        dict(type='IoUCost', iou_mode='giou', weight=2.0),
                    ],
                )
            ),
            test_cfg=dict(max_per_img=10),
        )
    )
    theirs.load_state_dict(MMDET.from_ours(ours.state_dict()), strict=True)
    return theirs.eval()


VARIANTS = {
    'plain': (dict(), dict()),
    'patterns': (dict(query_generator=dict(num_patterns=3)), dict()),
    'scalar scale': (
        dict(decoder=dict(positional_query=dict(position_scale=dict(type='ScalarScale')))),
        dict(query_scale_type='cond_scalar'),
    ),
    'scale per layer': (
        dict(decoder=dict(positional_query=dict(position_scale=dict(_delete_=True, type='LayerScale')))),
        dict(query_scale_type='fix_elewise'),
    ),
    'no modulation': (
        dict(decoder=dict(positional_query=dict(size_modulation=None))),
        dict(with_modulated_hw_attn=False),
    ),
    '2-D anchors': (
        dict(
            anchor_dims=2,
            decoder=dict(positional_query=dict(size_modulation=None)),
        ),
        dict(query_dim=2, with_modulated_hw_attn=False),
    ),
}


@pytest.fixture(scope='module', params=VARIANTS)
def pair(request):
    """Our detector and its twin. mmdet's port encodes boxes with temperature 10000, always."""
    overrides, decoder = copy.deepcopy(VARIANTS[request.param])
    ours = tiny.build(positional_encoder=dict(box_temperature=10000), **overrides)
    return ours, twin(ours, **decoder)


def test_weights_come_back(pair):
    """The converter undoes the renaming, which the tests below show to be right; nothing is lost or made up."""
    ours, theirs = pair
    weights = theirs.state_dict()
    assert recognise(weights) is MMDET
    conversion = MMDET.convert(weights)
    assert not conversion.dropped
    assert conversion.state.keys() == ours.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(conversion.state[name], tensor), name


@pytest.mark.parametrize('name', BATCHES)
def test_same_outputs_and_losses(pair, name):
    pictures, samples = tiny.batch(**BATCHES[name])
    ours, theirs = pair
    with torch.no_grad():
        for found, expected in zip(
            ours(pictures, samples, mode='tensor'), theirs(pictures, samples, mode='tensor'), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        losses, expected_losses = (model(pictures, samples, mode='loss') for model in (ours, theirs))
    assert list(losses) == list(expected_losses)
    for key, loss in losses.items():
        torch.testing.assert_close(loss, expected_losses[key].squeeze(), rtol=1e-5, atol=1e-6, msg=key)


def test_same_predictions(pair):
    pictures, samples = tiny.batch()
    ours, theirs = pair
    with torch.no_grad():
        found, expected = (model(pictures, copy.deepcopy(samples), mode='predict') for model in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.pred_instances.scores, other.pred_instances.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.pred_instances.labels, other.pred_instances.labels)
        torch.testing.assert_close(one.pred_instances.bboxes, other.pred_instances.bboxes, rtol=0, atol=1e-3)


def test_same_gradients(pair):
    pictures, samples = tiny.batch()
    gradients = []
    for model in pair:
        model.zero_grad()
        sum(model(pictures, samples, mode='loss').values()).backward()
        zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
        gradients.append(zeros | {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    ours, theirs = MMDET.from_ours(gradients[0]), gradients[1]
    assert set(ours) == set(theirs)
    for name, gradient in ours.items():
        largest = max(theirs[name].abs().max().item(), 1e-2)
        torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=1e-4 * largest, msg=name)
