"""mmdet's detectors in our assembly compute what they compute in mmdet, unless parts are exchanged."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from mmdet.models.layers.transformer import inverse_sigmoid
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmdet_dab.models import DecoderOutput
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mixes import step_and_predict
from tests.helpers.mmdet_models import shrunk, their_config
from tests.helpers.paths import CONFIGS

#: Case -> ours, mmdet's config, width (its Conditional DETR encodes points in 256 channels always).
CASES = {
    'DETR': ('MixedDETR', 'detr/detr_r50_8xb2-150e_coco', 32),
    'Conditional DETR': ('MixedConditionalDETR', 'conditional_detr/conditional-detr_r50_8xb2-50e_coco', 256),
    'Deformable DETR': ('MixedDeformableDETR', 'deformable_detr/deformable-detr_r50_16xb2-50e_coco', 32),
    'DAB-DETR': ('MixedDABDETR', 'dab_detr/dab-detr_r50_8xb2-50e_coco', 32),
    'DAB-DETR, patterns': ('MixedDABDETR', 'dab_detr/dab-detr_r50_8xb2-50e_coco', 32),
    'DAB-DETR, points': ('MixedDABDETR', 'dab_detr/dab-detr_r50_8xb2-50e_coco', 32),
    'DAB-DETR, scalar scale': ('MixedDABDETR', 'dab_detr/dab-detr_r50_8xb2-50e_coco', 32),
}
#: What a case says of its own beside the config.
VARIANTS = {
    'DAB-DETR, patterns': dict(num_patterns=3, with_random_refpoints=True),
    'DAB-DETR, points': dict(decoder=dict(query_dim=2, with_modulated_hw_attn=False, query_scale_type='fix_elewise')),
    'DAB-DETR, scalar scale': dict(decoder=dict(query_scale_type='cond_scalar')),
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
    kind, base, width = CASES[name]
    config = shrunk(their_config(base), width, **copy.deepcopy(VARIANTS.get(name, {})))
    config.bbox_head.embed_dims = width
    if kind == 'MixedDeformableDETR':
        for part, values in LEVELS.items():
            config[part].update(values)
    return config


def ours_of(name, **changes):
    """The same in our assembly, with other parts in the place of some."""
    return dict(small(name)) | dict(type=CASES[name][0]) | changes


@pytest.fixture(scope='module', params=CASES)
def pair(request):
    """Ours and mmdet's, whose checkpoint it has loaded."""
    torch.manual_seed(0)
    theirs = MMDET_MODELS.build(small(request.param))
    tiny.shake(theirs)
    ours = MODELS.build(ours_of(request.param))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize('name', BATCHES)
def test_same_losses(pair, name):
    """And the same norms of the gradients of all parameters."""
    images, samples = tiny.batch(**BATCHES[name])
    for model in pair:
        model.training = True  # the detector alone, which asks for it, and not its parts: without dropout
    found, expected = (model(images, copy.deepcopy(samples), mode='loss') for model in pair)
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
    images, samples = tiny.batch()
    with torch.no_grad():
        found, expected = (model(images, copy.deepcopy(samples), mode='predict') for model in pair)
    for one, other in zip(found, expected, strict=True):
        assert len(one.pred_instances) == 5
        torch.testing.assert_close(one.pred_instances.scores, other.pred_instances.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.pred_instances.labels, other.pred_instances.labels)
        torch.testing.assert_close(one.pred_instances.bboxes, other.pred_instances.bboxes, rtol=0, atol=1e-3)


def test_same_logits_and_boxes(pair):
    images, samples = tiny.batch()
    with torch.no_grad():
        for found, expected in zip(*(model(images, samples, mode='tensor')[:2] for model in pair), strict=True):
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
    """Xavier for every matrix of encoder and decoder, zero for offsets of deformable attention."""
    model = MODELS.build(ours_of(name))
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
    """For fine-tuning: tensors with a row for each of 3 classes, and for background in a softmax."""
    head = pair[0].bbox_head
    state = head.state_dict()
    rows = 3 if head.head.loss_cls.use_sigmoid else 4
    tensors = head.contract.class_tensors
    assert {state[name].size(0) for name in tensors} == {rows}
    assert len(tensors) == 2 * len(getattr(head.head, 'cls_branches', [None]))


@pytest.mark.parametrize('kind', ['DABDETRHead', 'DeformableDETRHead'])
def test_anchors_move_by_the_branch_that_predicts_boxes(kind):
    """σ(σ⁻¹(½) + offset) is the box of a query whose reference is ½ in every coordinate."""
    model = MODELS.build(dict(type='MMDetHead', head=DAB_HEAD | dict(type=kind)))
    model.init_weights()
    tiny.shake(model)
    states = torch.randn(6, 1, 5, 32)
    references = torch.full((6, 1, 5, 4), 0.5)
    _, boxes = model(DecoderOutput(states, references, None))
    for layer in (0, 5):
        torch.testing.assert_close(boxes[layer], model.box_offset(states[layer], layer).sigmoid())


def test_head_that_moves_no_anchors_says_so():
    """Reached by a decoder of a user's own without a contract."""
    model = MODELS.build(dict(type='MMDetHead', head=DAB_HEAD | dict(type='DETRHead')))
    with pytest.raises(ValueError, match='DETRHead moves no anchors: take DABDETRHead or'):
        model.box_offset(torch.randn(1, 5, 32), 0)


PARTS = Config.fromfile(CONFIGS / '_base_/parts/dab_detr.py')
ANCHORS = dict(PARTS.dab_queries, num_queries=7)
DECODER = dict(PARTS.dab_decoder, num_layers=2)
STILL_POINTS = dict(DECODER, anchor_update=None, positional_query=dict(type='AnchorPositionalQuery', anchor_dims=2))
DENOISING = dict(type='DenoisingQueryGenerator', generator=ANCHORS)
WITH_DECODER = dict(query_generator=ANCHORS, decoder=DECODER)


@pytest.mark.parametrize(
    ('name', 'changes', 'parts'),
    [
        (
            'DETR',
            dict(query_generator=ANCHORS),
            "query_generator (AnchorQueryGenerator) has query_kind='anchors', but decoder (MMDetDecoder) has "
            "query_kind='learned positions'",
        ),
        (
            'DETR',
            dict(bbox_head=dict(DAB_HEAD, type='ConditionalDETRHead')),
            'query_generator (LearnedQueryGenerator) has anchor_dims=0, but bbox_head (MMDetConditionalHead) has '
            'anchor_dims=2',
        ),
        (
            'Conditional DETR',
            dict(bbox_head=dict(DAB_HEAD, type='DETRHead', embed_dims=256)),
            'decoder (MMDetConditionalDecoder) has anchor_dims=2, but bbox_head (MMDetDETRHead) has anchor_dims=0',
        ),
        (
            'DETR',
            dict(bbox_head=dict(DAB_HEAD, type='DeformableDETRHead', num_pred_layer=2)),
            'query_generator (LearnedQueryGenerator) has anchor_dims=0, but bbox_head (MMDetDeformableHead) has '
            'anchor_dims=(2, 4)',
        ),
        (
            'DETR',
            WITH_DECODER,
            "query_generator (AnchorQueryGenerator) has query_kind='anchors', but bbox_head (MMDetDETRHead) has "
            "query_kind='learned positions'",
        ),
        (
            'DETR',
            WITH_DECODER | dict(bbox_head=DAB_HEAD, query_generator=DENOISING),
            'query_generator (DenoisingQueryGenerator) has denoising=True, but bbox_head (MMDetDABHead) has '
            "denoising=False: take a head that trains denoising queries: type='SetPredictionHead'",
        ),
        (
            'DETR',
            dict(decoder=dict(DECODER, num_layers=1, embed_dims=64)),
            'neck.out_channels (ChannelMapper) has embed_dims=32, but decoder (TransformerDecoder) has embed_dims=64',
        ),
        (
            'DETR',
            dict(
                train_cfg=dict(
                    assigner=dict(
                        type='MatcherAssigner', matcher=dict(type='HungarianMatcher', costs=[dict(type='FocalCost')])
                    )
                )
            ),
            "bbox_head (MMDetDETRHead) has class_scores='softmax', but bbox_head.matcher.costs.0 (FocalCost) has "
            "class_scores='sigmoid'",
        ),
        (
            'Deformable DETR',
            dict(num_feature_levels=3),
            'neck.num_outs (ChannelMapper) has maps=4, but tokenizer (ImageTokenizer) has maps=3',
        ),
        (
            'Deformable DETR',
            dict(num_feature_levels=3, neck=dict(small('Deformable DETR').neck, num_outs=3)),
            'tokenizer (ImageTokenizer) has levels=3, but encoder (MMDetDeformableEncoder) has levels=4',
        ),
        (
            'Deformable DETR',
            dict(as_two_stage=True),
            'MixedDeformableDETR: as_two_stage=True must be False',
        ),
        (
            'Deformable DETR',
            dict(with_box_refine=True),
            "MixedDeformableDETR: with_box_refine=True needs a decoder with 'type' that moves its anchors",
        ),
        (
            'Deformable DETR',
            dict(dn_cfg=dict(num_groups=1)),
            "MixedDeformableDETR: dn_cfg={'num_groups': 1} must be None",
        ),
        (
            'DETR',
            dict(positional_encoding=dict(normalize=False)),
            'positional_encoding: normalize=False must be True',
        ),
        (
            'DETR',
            dict(bbox_head=DAB_HEAD | dict(type='DINOHead')),
            "MMDetHead: head='DINOHead' must be DETRHead, ConditionalDETRHead, DABDETRHead or DeformableDETRHead",
        ),
        (
            'DAB-DETR',
            dict(bbox_head=DAB_HEAD | dict(type='DETRHead')),
            "query_generator (MMDetAnchorQueryGenerator) has query_kind='anchors', but bbox_head (MMDetDETRHead) has "
            "query_kind='learned positions'",
        ),
        (
            'DAB-DETR',
            dict(query_generator=dict(type='LearnedQueryGenerator', num_queries=7)),
            "query_generator (LearnedQueryGenerator) has query_kind='learned positions', but decoder (MMDetDABDecoder) "
            "has query_kind='anchors'",
        ),
        (
            'DAB-DETR, points',
            dict(query_generator=ANCHORS),
            'query_generator (AnchorQueryGenerator) has anchor_dims=4, but decoder (MMDetDABDecoder) has anchor_dims=2',
        ),
        (
            'DAB-DETR',
            dict(query_generator=DENOISING),
            'query_generator (DenoisingQueryGenerator) has denoising=True, but bbox_head (MMDetDABHead) has '
            'denoising=False',
        ),
        (
            'DAB-DETR',
            dict(decoder=dict(return_intermediate=False)),
            'MMDetDABDecoder: return_intermediate=False must be True',
        ),
        (
            'DAB-DETR',
            dict(decoder=dict(query_dim=2)),
            'MMDetDABDecoder: with_modulated_hw_attn=True must be False where query_dim=2',
        ),
        (
            'DAB-DETR',
            dict(bbox_head=dict(PARTS.deformable_head, num_classes=3, num_layers=3)),
            'decoder (MMDetDABDecoder) has num_layers=2, but bbox_head (SetPredictionHead) has num_layers=3',
        ),
    ],
)
def test_refused_when_built(name, changes, parts):
    config = ours_of(name)
    for key, value in changes.items():
        arguments = key in ('positional_encoding', 'decoder') and 'type' not in value
        config[key] = dict(config[key], **value) if arguments else value
    with pytest.raises(ValueError, match=re.escape(parts)) as error:
        MODELS.build(config)
    assert '\n' not in str(error.value)


OUR_HEAD = dict(PARTS.dab_head, num_classes=3)
#: Parts of ours in mmdet's DAB-DETR, each alone.
EXCHANGES = {
    'encoding': dict(positional_encoding=PARTS.dab_encoding),
    'tokenizer': dict(tokenizer=PARTS.dab_tokenizer),
    'encoder': dict(encoder=dict(PARTS.dab_encoder, num_layers=2)),
    'queries': dict(query_generator=ANCHORS),
    'queries with patterns': dict(query_generator=dict(ANCHORS, num_patterns=2)),
    'decoder': dict(decoder=DECODER),
    'decoder of points': dict(decoder=STILL_POINTS, query_generator=dict(ANCHORS, anchor_dims=2)),
    'decoder of learned positions': dict(
        decoder=dict(
            DECODER, first_layer=None, anchor_update=None, positional_query=dict(type='LearnedPositionalQuery')
        ),
        query_generator=dict(type='LearnedQueryGenerator', num_queries=7),
        bbox_head=dict(OUR_HEAD, init_cfg=None),
    ),
    'head': dict(bbox_head=OUR_HEAD),
    'head with branches for every layer': dict(bbox_head=dict(PARTS.deformable_head, num_classes=3)),
    'denoising': dict(query_generator=DENOISING, bbox_head=OUR_HEAD),
    'matcher': dict(
        train_cfg=dict(assigner=dict(type='MatcherAssigner', matcher=PARTS.dab_matcher)),
    ),
    'all': dict(
        positional_encoding=PARTS.dab_encoding,
        tokenizer=PARTS.dab_tokenizer,
        encoder=dict(PARTS.dab_encoder, num_layers=2),
        query_generator=DENOISING,
        decoder=DECODER,
        bbox_head=OUR_HEAD,
    ),
}


@pytest.mark.parametrize('name', EXCHANGES)
def test_every_part_of_mmdets_dab_detr_may_be_exchanged(name):
    """And the model trains a step, in which gradients reach every trained parameter, and predicts."""
    model = MODELS.build(ours_of('DAB-DETR', **copy.deepcopy(EXCHANGES[name])))
    step_and_predict(model)
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_our_head_in_mmdets_dab_detr_moves_the_anchors_of_each_layer_by_its_own_branch():
    """mmdet's decoder knows one branch only, and gets the one of the layer each time."""
    changes = dict(
        decoder=dict(small('DAB-DETR').decoder, num_layers=3),
        bbox_head=EXCHANGES['head with branches for every layer']['bbox_head'],
    )
    model = MODELS.build(ours_of('DAB-DETR', **copy.deepcopy(changes))).eval()
    tiny.shake(model)
    images, samples = tiny.batch()
    asked = []
    model.bbox_head.box_offset = lambda content, layer: asked.append(layer) or content.new_zeros(*content.shape[:2], 4)
    with torch.no_grad():
        model.decode(images, samples)
    assert asked == [0, 1, 2]


def test_mmdets_dab_decoder_keeps_denoising_queries_apart():
    """What matching queries become does not depend on the ground truth beside them."""
    plain, denoising = (
        MODELS.build(ours_of('DAB-DETR', query_generator=copy.deepcopy(queries), bbox_head=OUR_HEAD)).train(False)
        for queries in (ANCHORS, DENOISING)
    )
    for model in (plain, denoising):
        tiny.shake(model)
    denoising.query_generator.generator.load_state_dict(plain.query_generator.state_dict())
    images, samples = tiny.batch(counts=[3, 1])
    denoising.training = True  # the detector alone, which asks for it, and not its parts: without dropout
    with torch.no_grad():
        expected, found = plain.decode(images, samples), denoising.decode(images, samples)
    assert found.states.size(2) == 7 + 5 * 3
    torch.testing.assert_close(found.states[:, :, :7], expected.states, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.references[:, :, :7], expected.references, rtol=0, atol=1e-5)


def test_random_anchors_start_as_mmdets():
    """The same random numbers, and mmdet's clamp of σ⁻¹ at 1e-5."""
    queries = MODELS.build(dict(type='MMDetAnchorQueryGenerator', num_queries=9000, with_random_refpoints=True))
    torch.manual_seed(0)
    queries.init_weights()
    torch.manual_seed(0)
    expected = torch.empty(9000, 4).uniform_(0, 1)
    expected[:, :2] = inverse_sigmoid(expected[:, :2])
    assert torch.equal(queries.query_embedding.weight, expected)
