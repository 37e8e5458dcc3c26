"""DETR's and Conditional DETR's parts, each by itself, and the road from them to DAB-DETR."""

from __future__ import annotations

import inspect
import math
import re
from functools import cache
from itertools import pairwise

import pytest
import torch
from mmdet.models.task_modules import HungarianAssigner
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from mmdet_dab.models import DecoderOutput, ImageTokens, Queries, QueryPosition
from mmdet_dab.models.matcher import pad_targets
from mmdet_dab.models.shared_values import parameters_of
from mmdet_dab.registry import MODELS, TASK_UTILS
from tests.helpers import tiny
from tests.helpers.paths import CONFIGS

D, HEADS = 32, 8


def part(name, **config):
    torch.manual_seed(0)
    return MODELS.build(dict(type=f'mmdet_dab.{name}', **config))


def detector(name, **overrides):
    torch.manual_seed(0)
    model = MODELS.build(tiny.shrunk_config(name, **overrides))
    model.init_weights()
    tiny.shake(model)
    return model.eval()


def tokens(padding=None):
    return ImageTokens(torch.randn(2, 12, D), torch.randn(2, 12, D), padding, ((3, 4),), torch.ones(2, 1, 2))


# --- Queries ----------------------------------------------------------------------------------------


class TestQueryGenerators:
    def test_learned_positions(self):
        generator = part('LearnedQueryGenerator', num_queries=5, embed_dims=D)
        queries = generator(tokens())
        assert queries.content.shape == queries.position.shape == (2, 5, D)
        assert not queries.content.any()
        assert all(torch.equal(position, generator.position) for position in queries.position)
        assert queries.anchors is None

    def test_points_by_hand(self):
        """σ(W₂ relu(W₁ position + b₁) + b₂)."""
        generator = part('PredictedPointQueryGenerator', num_queries=5, embed_dims=D)
        first, second = generator.point.layers
        hidden = (generator.position @ first.weight.T + first.bias).clamp(min=0)
        expected = 1 / (1 + (-(hidden @ second.weight.T + second.bias)).exp())
        queries = generator(tokens())
        torch.testing.assert_close(queries.anchors, expected.expand(2, -1, -1))
        assert torch.equal(queries.position[1], generator.position)

    def test_no_queries_are_refused(self):
        with pytest.raises(ValueError, match='LearnedQueryGenerator: num_queries=0 must be at least 1'):
            part('LearnedQueryGenerator', num_queries=0)


class TestPositionalQueries:
    def test_learned_is_the_position_in_every_layer(self):
        position = torch.randn(2, 5, D)
        queries = Queries(torch.randn(2, 5, D), position=position)
        for layer in (0, 3):
            found = part('LearnedPositionalQuery')(queries, layer, None)
            assert found == QueryPosition(position, position)

    def test_conditional(self):
        """PE(point) in the first layer, times MLP(content) after it."""
        scale = dict(type='ContentScale', embed_dims=D)
        query = part('ConditionalPositionalQuery', embed_dims=D, position_scale=scale)
        encoder = part('SinePositionalEncoder', embed_dims=D)
        position, points, content = torch.randn(2, 5, D), torch.rand(2, 5, 2), torch.randn(2, 5, D)
        first, later = (query(Queries(content, points, position), layer, encoder) for layer in (0, 1))
        assert torch.equal(first.learned, position)
        assert torch.equal(later.learned, position)
        assert torch.equal(first.sine, encoder.boxes(points))
        hidden, out = query.position_scale.layers
        factors = (content @ hidden.weight.T + hidden.bias).clamp(min=0) @ out.weight.T + out.bias
        torch.testing.assert_close(later.sine, encoder.boxes(points) * factors)


# --- Cross-attention --------------------------------------------------------------------------------


@pytest.mark.parametrize('padded', [False, True])
def test_cross_attention_is_torchs(padded):
    """``nn.MultiheadAttention`` with the same weights: query C + P, key F + P_F, value F."""
    attention = part('QueryCrossAttention', embed_dims=D, num_heads=HEADS)
    oracle = nn.MultiheadAttention(D, HEADS, batch_first=True)
    for name in ('weight', 'bias'):
        nn.init.normal_(getattr(attention.out, name))
        rows = [getattr(getattr(attention, role), name) for role in ('query', 'key', 'value')]
        getattr(oracle, f'in_proj_{name}').data = torch.cat(rows)
        getattr(oracle.out_proj, name).data = getattr(attention.out, name)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[1, 7:] = True
    cells = tokens(padding if padded else None)
    content, position = torch.randn(2, 5, D), torch.randn(2, 5, D)
    found = attention(content, QueryPosition(position, torch.randn(2, 5, D)), None, cells)
    expected, _ = oracle(
        content + position, cells.content + cells.position, cells.content, key_padding_mask=padding if padded else None
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


# --- The decoder ------------------------------------------------------------------------------------


class TestDecoderOfLearnedPositions:
    def decode(self, name):
        model = detector(name)
        contents = []
        for layer in model.decoder.layers:
            layer.register_forward_hook(lambda module, inputs, output: contents.append(output))
        with torch.no_grad():
            return model, model.decode(*tiny.batch()), contents

    def test_without_anchors_nothing_is_measured_from(self):
        model, output, contents = self.decode('detr_r50')
        assert output.references.shape == (2, 2, 7, 0)
        for state, content in zip(output.states, contents, strict=True):
            torch.testing.assert_close(state, model.decoder.norm(content))
        with torch.no_grad():
            _, boxes = model.bbox_head(output)
            torch.testing.assert_close(boxes, model.bbox_head.box_branches[0](output.states).sigmoid())

    def test_points_are_the_references_of_every_layer(self):
        model, output, _ = self.decode('conditional_detr_r50')
        assert torch.equal(output.references, model.query_generator.anchors().expand(2, 2, -1, -1))
        with torch.no_grad():
            _, boxes = model.bbox_head(output)
            offsets = model.bbox_head.box_branches[0](output.states)
        offsets[..., :2] += output.references.logit()
        torch.testing.assert_close(boxes, offsets.sigmoid(), rtol=0, atol=1e-6)

    def test_queries_without_positions_are_named(self):
        model = detector('detr_r50')
        queries = Queries(torch.zeros(2, 7, D), torch.rand(2, 7, 4))
        with pytest.raises(ValueError, match='LearnedPositionalQuery needs queries with position'):
            model.decoder(queries, tokens(), model.positional_encoder, model.bbox_head.box_offset)

    def test_no_layers_are_refused(self):
        with pytest.raises(ValueError, match='TransformerDecoder: num_layers=0 must be at least 1'):
            MODELS.build(tiny.shrunk_config('detr_r50', decoder=dict(num_layers=0)))


# --- Head and matching ------------------------------------------------------------------------------


def head(**overrides):
    torch.manual_seed(0)
    return MODELS.build(tiny.shrunk_config('detr_r50', bbox_head=overrides).bbox_head)


def sample(boxes, labels):
    """An image of 200 × 100 pixels."""
    truth = InstanceData(bboxes=torch.tensor(boxes).view(-1, 4), labels=torch.tensor(labels).long())
    result = DetDataSample(gt_instances=truth)
    result.set_metainfo(dict(img_shape=(100, 200), ori_shape=(100, 200), scale_factor=(1.0, 1.0)))
    return result


def answering(logits, boxes, **overrides):
    """A head whose branches give these answers, and the decoder's output to hand to it."""
    result = head(**overrides)
    result.class_branch = Answers(torch.tensor(logits)[None, None])
    result.box_branches[0] = Answers(torch.tensor(boxes)[None, None].logit())
    states = torch.zeros(1, 1, len(logits), D)
    return result, DecoderOutput(states, states[..., :0], Queries(states[0]))


class Answers(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, states):
        return self.values


class TestSoftmaxHead:
    LOGITS = ((0.0, 2.0, -1.0, 1.0), (1.0, 0.0, 0.0, 3.0), (-1.0, 0.0, 0.5, 0.0))
    BOXES = ((0.5, 0.5, 0.25, 0.5), (0.1, 0.1, 0.1, 0.1), (0.8, 0.2, 0.2, 0.2))

    def test_losses_by_hand(self):
        """One object, class 1, of query 0; the others are background, of a tenth of the weight."""
        part, output = answering(self.LOGITS, self.BOXES)
        losses = part.loss(output, [sample([50.0, 25.0, 150.0, 75.0], [1])])

        def entropy(logits, label):
            return math.log(sum(map(math.exp, logits))) - logits[label]

        weighted = [(1, entropy(self.LOGITS[0], 1)), *((0.1, entropy(logits, 3)) for logits in self.LOGITS[1:])]
        expected = sum(weight * loss for weight, loss in weighted) / sum(weight for weight, _ in weighted)
        assert losses['loss_cls'].item() == pytest.approx(expected, rel=1e-5)
        assert losses['loss_bbox'].item() == pytest.approx(5 * 0.25, rel=1e-4)
        assert losses['loss_iou'].item() == pytest.approx(2 * (1 - 0.5), rel=1e-4)

    def test_background_weight_acts(self):
        losses = []
        for weight in (0.1, 1.0):
            part, output = answering(self.LOGITS, self.BOXES, class_scores=dict(background_weight=weight))
            losses.append(part.loss(output, [sample([50.0, 25.0, 150.0, 75.0], [1])])['loss_cls'].item())
        assert losses[0] != pytest.approx(losses[1], rel=0.05)

    def test_no_objects(self):
        """All is background; the divisor is at least 1."""
        part, output = answering(self.LOGITS, self.BOXES)
        losses = part.loss(output, [sample([], [])])
        entropies = [math.log(sum(map(math.exp, logits))) - logits[3] for logits in self.LOGITS]
        assert losses['loss_cls'].item() == pytest.approx(0.1 * sum(entropies), rel=1e-5)
        assert losses['loss_bbox'] == losses['loss_iou'] == 0

    def test_prediction_by_hand(self):
        """Each query once, with the best class that is not background; the best two of three."""
        part, output = answering(self.LOGITS, self.BOXES, selection=dict(max_per_img=2))
        with torch.no_grad():
            (result,) = part.predict(output, [sample([], [])])
        probabilities = [[math.exp(x) / sum(map(math.exp, logits)) for x in logits] for logits in self.LOGITS]
        assert result.labels.tolist() == [1, 2]
        assert result.scores.tolist() == pytest.approx([probabilities[0][1], probabilities[2][2]], rel=1e-5)
        expected = torch.tensor([[75.0, 25.0, 125.0, 75.0], [140.0, 10.0, 180.0, 30.0]])
        torch.testing.assert_close(result.bboxes, expected, rtol=0, atol=1e-3)

    def test_start(self):
        """Neither a prior, nor one box for all."""
        part = head()
        before = {name: parameter.clone() for name, parameter in part.named_parameters()}
        part.init_weights()
        assert all(torch.equal(parameter, before[name]) for name, parameter in part.named_parameters())
        part = head(init_cfg=dict(_delete_=True, type='BoxesAtReferences'))
        part.init_weights()
        assert not part.box_branches[0].layers[-1].weight.any()

    @pytest.mark.parametrize(
        ('overrides', 'message'),
        [
            (
                dict(class_scores=dict(_delete_=True, type='SigmoidScores')),
                'loss_cls (CrossEntropyLoss) has use_sigmoid=False, but class_scores is SigmoidScores',
            ),
            (
                dict(loss_cls=dict(use_sigmoid=True)),
                'loss_cls (CrossEntropyLoss) has use_sigmoid=True, but class_scores is SoftmaxScores',
            ),
            (
                dict(class_scores=dict(background_weight=-1.0)),
                'SoftmaxScores: background_weight=-1.0 must be positive',
            ),
        ],
    )
    def test_contradictions_are_refused(self, overrides, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            head(**overrides)


class TestClassificationCost:
    def test_by_hand(self):
        """Softmax of (0, log 2, log 5): probabilities 1/8, 2/8, 5/8."""
        cost = TASK_UTILS.build(dict(type='mmdet_dab.ClassificationCost', weight=3.0))
        targets = pad_targets([torch.tensor([1, 0])], [torch.rand(2, 4)])
        found = cost(torch.tensor([0.0, math.log(2), math.log(5)]).view(1, 1, 1, 3), torch.rand(1, 1, 1, 4), targets)
        torch.testing.assert_close(found.flatten(), torch.tensor([-0.75, -0.375]))

    @pytest.mark.parametrize('seed', range(5))
    def test_matching_is_mmdets(self, seed):
        torch.manual_seed(seed)
        logits, centers, sizes = torch.randn(1, 2, 8, 5), torch.rand(1, 2, 8, 2), torch.rand(1, 2, 8, 2)
        boxes = torch.cat((centers, 0.05 + 0.5 * sizes), dim=-1)
        labels = [torch.randint(4, (count,)) for count in (3, 10)]
        truth = [torch.rand(len(label), 4) * 0.4 + 0.1 for label in labels]
        matches = head().matcher(logits, boxes, pad_targets(labels, truth))
        assigner = HungarianAssigner(
            match_costs=[
                dict(type='ClassificationCost', weight=1.0),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.0),
            ]
        )
        for image in range(2):
            result = assigner.assign(
                InstanceData(scores=logits[0, image], bboxes=bbox_cxcywh_to_xyxy(boxes[0, image]) * 100),
                InstanceData(labels=labels[image], bboxes=bbox_cxcywh_to_xyxy(truth[image]) * 100),
                img_meta=dict(img_shape=(100, 100)),
            )
            expected = {(q, t - 1) for q, t in enumerate(result.gt_inds.tolist()) if t > 0}
            here = matches.image == image
            assert set(zip(matches.query[here].tolist(), matches.target[here].tolist(), strict=True)) == expected


# --- The whole --------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['detr_r50', 'conditional_detr_r50'])
def test_every_parameter_is_trained_and_dropout_acts(name):
    model = detector(name, backbone=dict(frozen_stages=-1, norm_cfg=dict(requires_grad=True))).train()
    batch = tiny.batch()
    losses = [sum(model(*batch, mode='loss').values()) for _ in range(2)]
    assert losses[0] != losses[1]
    losses[0].backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize('name', ['detr_r50', 'conditional_detr_r50'])
def test_every_matrix_of_the_transformer_is_xavier_uniform(name):
    """Uniform in ±√(6 / (in + out)); where one projection serves content and position as for 3D rows (DETR)."""
    model = MODELS.build(tiny.shrunk_config(name))
    parts = ('encoder', 'decoder', 'query_generator.point')
    matrices = {key: matrix for key, matrix in model.named_parameters() if key.startswith(parts) and matrix.dim() > 1}
    for matrix in matrices.values():
        nn.init.constant_(matrix, 7)
    model.init_weights()
    for key, matrix in matrices.items():
        rows, columns = matrix.shape
        in_one = name == 'detr_r50' or key.startswith('encoder')
        packed = in_one and key.split('.')[-2] in ('query', 'key', 'value')
        bound = math.sqrt(6 / ((3 if packed else 1) * rows + columns))
        assert 0.7 * bound < matrix.abs().max() <= bound * 1.0001, key


ANCHORS = dict(_delete_=True, **Config.fromfile(CONFIGS / '_base_/models/dab_detr_r50.py').model.query_generator)
LEARNED = dict(_delete_=True, type='mmdet_dab.LearnedQueryGenerator', num_queries=7, embed_dims=D)
ANCHORS.update(embed_dims=D, num_queries=7)


@pytest.mark.parametrize(
    ('name', 'overrides', 'message'),
    [
        (
            'dab_detr_r50',
            dict(query_generator=LEARNED),
            "query_generator (LearnedQueryGenerator) has query_kind='learned positions', but decoder.positional_query "
            "(AnchorPositionalQuery) has query_kind='anchors'",
        ),
        (
            'detr_r50',
            dict(query_generator=ANCHORS),
            "query_generator (AnchorQueryGenerator) has query_kind='anchors', but decoder.positional_query "
            "(LearnedPositionalQuery) has query_kind='learned positions'",
        ),
        (
            'conditional_detr_r50',
            dict(query_generator=LEARNED),
            'query_generator (LearnedQueryGenerator) has anchor_dims=0, but decoder.positional_query '
            '(ConditionalPositionalQuery) has anchor_dims=2: give both anchors of 2 coordinates',
        ),
        (
            'detr_r50',
            dict(
                decoder=dict(
                    layer=dict(
                        cross_attention=dict(
                            _delete_=True,
                            type='mmdet_dab.DeformableCrossAttention',
                            embed_dims=D,
                            num_levels=1,
                        )
                    )
                )
            ),
            'query_generator (LearnedQueryGenerator) has anchor_dims=0, but decoder.layers.0.cross_attention '
            '(DeformableCrossAttention) has anchor_dims=4: give both anchors of 4 coordinates',
        ),
        (
            'detr_r50',
            dict(decoder=dict(positional_query=dict(type='mmdet_dab.AnchorPositionalQuery', embed_dims=D))),
            "query_generator (LearnedQueryGenerator) has query_kind='learned positions', but decoder.positional_query "
            "(AnchorPositionalQuery) has query_kind='anchors'",
        ),
        (
            'dab_detr_r50',
            dict(decoder=dict(positional_query=dict(_delete_=True, type='mmdet_dab.LearnedPositionalQuery'))),
            "query_kind='anchors', but decoder.positional_query (LearnedPositionalQuery) has "
            "query_kind='learned positions'",
        ),
        (
            'dab_detr_r50',
            dict(neck=dict(num_outs=4), tokenizer=dict(num_levels=4)),
            'tokenizer (ImageTokenizer) has levels=4, but encoder.layers.0.self_attention (CellSelfAttention) '
            'has levels=1',
        ),
        (
            'dab_detr_deformable_encoder_r50',
            dict(neck=dict(num_outs=1), tokenizer=dict(num_levels=1)),
            'tokenizer (ImageTokenizer) has levels=1, but encoder.layers.0.self_attention '
            '(DeformableCellAttention) has levels=4',
        ),
        (
            'dab_detr_r50',
            dict(
                decoder=dict(first_layer=None, layer=dict(cross_attention=dict(type='mmdet_dab.QueryCrossAttention')))
            ),
            'decoder.layers.0.cross_attention (QueryCrossAttention) has sine_code=False, but decoder.positional_query '
            '(AnchorPositionalQuery) has sine_code=True: take a cross-attention that looks at the code of the anchor',
        ),
        (
            'detr_r50',
            dict(decoder=dict(layer=dict(self_attention=dict(type='mmdet_dab.QueryCrossAttention')))),
            'DecoderLayer: self_attention must be a part for decoder self-attention, but '
            'QueryCrossAttention is one for decoder cross-attention: exchange it',
        ),
        (
            'detr_r50',
            dict(encoder=dict(layer=dict(self_attention=dict(type='mmdet_dab.QuerySelfAttention')))),
            'EncoderLayer: self_attention must be a part for encoder self-attention, but '
            'QuerySelfAttention is one for decoder self-attention: exchange it',
        ),
        (
            'detr_r50',
            dict(bbox_head=dict(matcher=dict(costs=[dict(type='mmdet_dab.FocalCost')]))),
            "bbox_head.class_scores (SoftmaxScores) has class_scores='softmax', but bbox_head.matcher.costs.0 "
            "(FocalCost) has class_scores='sigmoid'",
        ),
        (
            'conditional_detr_r50',
            dict(bbox_head=dict(matcher=dict(costs=[dict(type='mmdet_dab.ClassificationCost')]))),
            "bbox_head.class_scores (SigmoidScores) has class_scores='sigmoid', but bbox_head.matcher.costs.0 "
            "(ClassificationCost) has class_scores='softmax'",
        ),
    ],
)
def test_part_that_does_not_fit_is_refused_when_built(name, overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        MODELS.build(tiny.shrunk_config(name, **overrides))
    assert '\n' not in str(error.value)


# --- The road from DETR to DAB-DETR -----------------------------------------------------------------

ROADS = ('road', 'road_coco')
IDEAS = (
    'detr',
    'focal_loss',
    'conditional_query',
    'points',
    'boxes',
    'update',
    'modulation',
    'temperature',
    'denoising',
)
DAB_DETR = IDEAS.index('temperature')


def stations(road):
    return sorted((CONFIGS / 'mix' / road).glob('*.py'))


def flat(config, path=''):
    """Dotted keys and their values; every argument that a part leaves out, with its default."""
    result = {}
    if 'type' in config:
        arguments = parameters_of(config.type).values()
        result = {f'{path}{argument.name}': argument.default for argument in arguments if argument.default is not None}
        result = {key: value for key, value in result.items() if value is not inspect.Parameter.empty}
    for key, value in config.items():
        result.pop(f'{path}{key}', None)
        if isinstance(value, dict):
            result |= flat(value, f'{path}{key}.')
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            result |= flat(Config(dict(enumerate(map(dict, value))))._cfg_dict, f'{path}{key}.')
        elif value is not None:
            result[f'{path}{key}'] = value
    return result


@cache
def whole(path):
    """All arguments of all parts of a config."""
    return {key: value for key, value in flat(tiny.handed_down(Config.fromfile(path).model)).items() if '.' in key}


def differences(first, second):
    first, second = whole(first), whole(second)
    return {key for key in {*first, *second} if first.get(key) != second.get(key)}


@pytest.mark.parametrize('road', ROADS)
def test_every_station_adds_its_idea_to_the_one_before(road):
    files = stations(road)
    assert [re.sub(r'_(shapes|r50_50e)$', '', path.stem) for path in files] == [
        f'{number}_{idea}' for number, idea in enumerate(IDEAS)
    ]
    for before, after in pairwise(files):
        assert f"_base_ = '{before.name}'" in after.read_text()
        assert differences(before, after)
    only = [differences(*pair) for pair in pairwise(files[3 : DAB_DETR + 1])]
    assert only == [
        {'query_generator.anchor_dims', 'decoder.positional_query.anchor_dims'},
        {'decoder.anchor_update.type', 'decoder.anchor_update.eps'},
        {f'decoder.positional_query.size_modulation.{key}' for key in ('type', 'embed_dims')},
        {'positional_encoder.temperature'},
    ]
    assert all(key.startswith('query_generator.') for key in differences(*files[DAB_DETR:]))


def test_the_road_on_coco_ends_at_dab_detr():
    """That of the paper, which has one temperature."""
    end = CONFIGS / 'ablations/dab_detr_r50_one_temperature_50e.py'
    assert differences(stations('road_coco')[DAB_DETR], end) == set()


def test_the_road_on_shapes_ends_at_dab_detr_without_its_aids():
    last = stations('road')[DAB_DETR]
    found = differences(last, CONFIGS / 'shapes/dab_detr_shapes_5min.py')
    aids = {
        'query_generator.initial_anchors',
        'decoder.positional_query.position_scale.init_cfg',
        'decoder.layer.cross_attention.init_cfg',
    }
    assert {aid for aid in aids if any(key.startswith(aid) for key in found)} == aids
    assert all(key.startswith((*aids, 'encoder.')) for key in found)


@pytest.mark.parametrize('number', range(len(IDEAS)), ids=IDEAS)
def test_every_station_trains_every_parameter(number):
    model = MODELS.build(Config.fromfile(stations('road')[number]).model)
    model.init_weights()
    losses = model.train()(*tiny.batch(), mode='loss')
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
