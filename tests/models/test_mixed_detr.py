"""mmdet's detectors in our assembly: without an exchange of parts they compute what they compute in mmdet."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmdet_dab.models import DecoderOutput
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mmdet_models import shrunk, their_config

#: Ours -> mmdet's config, width (its Conditional DETR encodes points in 256 channels, whatever the config says).
CASES = {
    'MixedDETR': ('detr/detr_r50_8xb2-150e_coco', 32),
    'MixedConditionalDETR': ('conditional_detr/conditional-detr_r50_8xb2-50e_coco', 256),
    'MixedDeformableDETR': ('deformable_detr/deformable-detr_r50_16xb2-50e_coco', 32),
}
FOCAL = dict(type='FocalLoss', use_sigmoid=True)
DAB_HEAD = dict(type='DABDETRHead', num_classes=3, embed_dims=32, loss_cls=FOCAL)
#: Feature levels of the small backbone.
LEVELS = dict(backbone=dict(out_indices=(0, 1, 2)), neck=dict(in_channels=[8, 16, 32], norm_cfg=None))
BATCHES = {
    'padded': dict(),
    'one size': dict(sizes=[(64, 96), (64, 96)], counts=[2, 4]),
    'no objects': dict(counts=[0, 0]),
}


def small(name):
    """The model of mmdet's config, 2 + 2 layers, 7 queries, 3 classes; what else it says stays."""
    base, width = CASES[name]
    config = shrunk(their_config(base), width)
    config.bbox_head.embed_dims = width
    if name == 'MixedDeformableDETR':
        for part, values in LEVELS.items():
            config[part].update(values)
    return config


@pytest.fixture(scope='module', params=CASES)
def pair(request):
    """Ours and mmdet's, whose checkpoint it has loaded."""
    config = small(request.param)
    torch.manual_seed(0)
    theirs = MMDET_MODELS.build(copy.deepcopy(config))
    tiny.shake(theirs)
    ours = MODELS.build(config | dict(type=f'mmdet_dab.{request.param}'))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize('name', BATCHES)
def test_same_losses(pair, name):
    """And the same norms of the gradients of all parameters."""
    pictures, samples = tiny.batch(**BATCHES[name])
    for model in pair:
        model.training = True  # the detector alone, which asks for it, and not its parts: without dropout
    found, expected = (model(pictures, copy.deepcopy(samples), mode='loss') for model in pair)
    assert list(found) == list(expected)
    for key, loss in found.items():
        torch.testing.assert_close(loss, expected[key], rtol=1e-5, atol=1e-6, msg=key)
    norms = []
    for model, losses in zip(pair, (found, expected), strict=True):
        model.zero_grad()
        sum(losses.values()).backward()
        norms.append(sorted(p.grad.norm().item() for p in model.parameters() if p.grad is not None))
        model.eval()
    assert len(norms[0]) > 50
    assert norms[0] == pytest.approx(norms[1], rel=1e-3, abs=1e-5)


def test_same_predictions(pair):
    pictures, samples = tiny.batch()
    with torch.no_grad():
        found, expected = (model(pictures, copy.deepcopy(samples), mode='predict') for model in pair)
    for one, other in zip(found, expected, strict=True):
        assert len(one.pred_instances) == 5
        torch.testing.assert_close(one.pred_instances.scores, other.pred_instances.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.pred_instances.labels, other.pred_instances.labels)
        torch.testing.assert_close(one.pred_instances.bboxes, other.pred_instances.bboxes, rtol=0, atol=1e-3)


def test_same_logits_and_boxes(pair):
    pictures, samples = tiny.batch()
    with torch.no_grad():
        for found, expected in zip(*(model(pictures, samples, mode='tensor')[:2] for model in pair), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_its_own_checkpoint_comes_back(pair):
    """Through mmengine's loader, too, which says what is missing."""
    ours, theirs = pair
    again = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    load_state_dict(again, theirs.state_dict(), strict=True)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name
    again.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize('name', CASES)
def test_starts_as_mmdets(name):
    """Xavier for every matrix of encoder and decoder, but zero for the offsets of deformable attention."""
    model = MODELS.build(small(name) | dict(type=f'mmdet_dab.{name}'))
    parts = ('encoder', 'decoder', 'query_generator.reference_points_fc')
    matrices = {key: matrix for key, matrix in model.named_parameters() if key.startswith(parts) and matrix.dim() > 1}
    for matrix in matrices.values():
        nn.init.constant_(matrix, 7)
    model.init_weights()
    for key, matrix in matrices.items():
        zero = any(word in key for word in ('sampling_offsets', 'attention_weights'))
        bound = 0 if zero else math.sqrt(6 / sum(matrix.shape))
        assert 0.7 * bound <= matrix.abs().max() <= bound * 1.0001, key


def test_class_rows_are_named(pair):
    """For fine-tuning on other classes: tensors with a row for each of the 3, and for background in a softmax."""
    head = pair[0].bbox_head
    state = head.state_dict()
    rows = 3 if head.head.loss_cls.use_sigmoid else 4
    assert {state[name].size(0) for name in head.class_tensors} == {rows}
    assert len(head.class_tensors) == 2 * len(getattr(head.head, 'cls_branches', [None]))


@pytest.mark.parametrize('kind', ['DABDETRHead', 'DeformableDETRHead'])
def test_anchors_move_by_the_branch_that_predicts_boxes(kind):
    """σ(σ⁻¹(½) + offset) is the box of a query whose reference is ½ in every coordinate."""
    model = MODELS.build(dict(type='mmdet_dab.MMDetHead', head=DAB_HEAD | dict(type=kind)))
    model.init_weights()
    tiny.shake(model)
    states = torch.randn(6, 1, 5, 32)
    references = torch.full((6, 1, 5, 4), 0.5)
    _, boxes = model(DecoderOutput(states, references, None))
    for layer in (0, 5):
        torch.testing.assert_close(boxes[layer], model.box_offset(states[layer], layer).sigmoid())


def test_head_that_moves_no_anchors_says_so():
    """Reached by a decoder of a user's own without a contract."""
    model = MODELS.build(dict(type='mmdet_dab.MMDetHead', head=DAB_HEAD | dict(type='DETRHead')))
    with pytest.raises(ValueError, match='DETRHead moves no anchors: take DABDETRHead or'):
        model.box_offset(torch.randn(1, 5, 32), 0)


ANCHORS = dict(
    type='mmdet_dab.AnchorQueryGenerator',
    num_queries=7,
    embed_dims=32,
    initial_anchors=dict(type='mmdet_dab.NormalAnchors'),
)
DECODER = dict(
    type='mmdet_dab.AnchorDecoder',
    num_layers=2,
    embed_dims=32,
    anchor_update=None,
    positional_query=dict(type='mmdet_dab.AnchorPositionalQuery', embed_dims=32),
    layer=dict(
        type='mmdet_dab.DecoderLayer',
        embed_dims=32,
        self_attention=dict(type='mmdet_dab.ConditionalSelfAttention', embed_dims=32),
        cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention', embed_dims=32),
        feed_forward=dict(type='mmdet_dab.FeedForward', embed_dims=32, hidden_dims=64),
    ),
)
DENOISING = dict(type='mmdet_dab.DenoisingQueryGenerator', generator=ANCHORS, num_classes=3, embed_dims=32)
WITH_DECODER = dict(query_generator=ANCHORS, decoder=DECODER)


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        (
            'MixedDETR',
            dict(query_generator=ANCHORS),
            "query_generator (AnchorQueryGenerator) has query_kind='anchors', but decoder (MMDetDecoder) has "
            "query_kind='learned positions': queries with learned positions are missing, exchange one of the two parts",
        ),
        (
            'MixedDETR',
            dict(bbox_head=dict(DAB_HEAD, type='ConditionalDETRHead')),
            'query_generator (LearnedQueryGenerator) has anchor_dims=0, but bbox_head (MMDetHead) has anchor_dims=2: '
            'anchors of 2 coordinates are missing, give both the same or exchange one of the parts',
        ),
        (
            'MixedConditionalDETR',
            dict(bbox_head=dict(DAB_HEAD, type='DETRHead', embed_dims=256)),
            'decoder (MMDetConditionalDecoder) has anchor_dims=2, but bbox_head (MMDetHead) has anchor_dims=0: anchors',
        ),
        (
            'MixedDETR',
            dict(bbox_head=dict(DAB_HEAD, type='DeformableDETRHead', num_pred_layer=2)),
            'query_generator (LearnedQueryGenerator) has anchor_dims=0, but bbox_head (MMDetHead) has anchor_dims=(2',
        ),
        (
            'MixedDETR',
            WITH_DECODER,
            "query_generator (AnchorQueryGenerator) has query_kind='anchors', but bbox_head (MMDetHead) has "
            "query_kind='learned positions': queries with learned positions are missing",
        ),
        (
            'MixedDETR',
            WITH_DECODER | dict(bbox_head=DAB_HEAD, query_generator=DENOISING),
            'query_generator (DenoisingQueryGenerator) has denoising_losses=True, but bbox_head (MMDetHead) has '
            "denoising_losses=False: a head that trains denoising queries is missing, take type='mmdet_dab.SetPredict",
        ),
        (
            'MixedDETR',
            dict(decoder=dict(DECODER, num_layers=1, embed_dims=64)),
            'embed_dims=64: give both the same value in the config',
        ),
        (
            'MixedDETR',
            dict(
                train_cfg=dict(
                    assigner=dict(
                        type='mmdet_dab.MatcherAssigner',
                        matcher=dict(type='mmdet_dab.HungarianMatcher', costs=[dict(type='mmdet_dab.FocalCost')]),
                    )
                )
            ),
            "bbox_head (MMDetHead) has class_scores='softmax', but bbox_head.assigner.matcher.costs.0 (FocalCost) has "
            "class_scores='sigmoid': logits for a sigmoid are missing",
        ),
        (
            'MixedDeformableDETR',
            dict(num_feature_levels=3),
            'neck.num_outs (ChannelMapper) has feature_maps=4, but tokenizer (ImageTokenizer) has feature_maps=3: give',
        ),
        (
            'MixedDeformableDETR',
            dict(num_feature_levels=3, neck=dict(small('MixedDeformableDETR').neck, num_outs=3)),
            'tokenizer (ImageTokenizer) has feature_levels=3, but encoder (MMDetDeformableEncoder) has feature_level',
        ),
        (
            'MixedDeformableDETR',
            dict(as_two_stage=True),
            'MixedDeformableDETR: as_two_stage=True must be False: no part takes queries from the encoder',
        ),
        (
            'MixedDeformableDETR',
            dict(with_box_refine=True),
            "MixedDeformableDETR: with_box_refine=True needs a decoder with 'type' that moves its anchors",
        ),
        (
            'MixedDeformableDETR',
            dict(dn_cfg=dict(num_groups=1)),
            "MixedDeformableDETR: dn_cfg={'num_groups': 1} must be None: take query_generator=dict(type='mmdet_dab.Den",
        ),
        (
            'MixedDETR',
            dict(positional_encoding=dict(normalize=False)),
            'positional_encoding: normalize=False must be True, or name a type of your own',
        ),
        (
            'MixedDETR',
            dict(bbox_head=DAB_HEAD | dict(type='DINOHead')),
            "MMDetHead: head='DINOHead' must be DETRHead, ConditionalDETRHead, DABDETRHead or DeformableDETRHead, or",
        ),
    ],
)
def test_refused_when_built(name, changes, message):
    config = small(name)
    for key, value in changes.items():
        merged = isinstance(value, dict) and key == 'positional_encoding'
        config[key] = {**config[key], **value} if merged else value
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        MODELS.build(config | dict(type=f'mmdet_dab.{name}'))
    assert '\n' not in str(error.value)
