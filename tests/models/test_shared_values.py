"""Width, heads, classes and the like are said once: the detector hands them down."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from torch import nn

from mmdet_dab.models.compatibility import contract_of
from mmdet_dab.models.shared_values import default_of, hand_down, parameters_of
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.paths import CONFIGS

BASES = (
    'dab_detr_r50',
    'dab_deformable_detr_r50',
    'dab_detr_deformable_encoder_r50',
    'detr_r50',
    'conditional_detr_r50',
)


def parts_of(name='dab_detr_r50', **changes):
    """The configs of a base model's parts, and its own shared values with changes."""
    model = Config.fromfile(CONFIGS / f'_base_/models/{name}.py').model.to_dict()
    shared = {key: value for key, value in model.items() if not isinstance(value, dict | str)}
    return {key: model[key] for key in tiny.PARTS}, dict(dict(embed_dims=256), **shared) | changes


def widths(node):
    """Every ``embed_dims`` in a config, by its path."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    found = {}
    for key, value in items:
        if key == 'embed_dims':
            found[''] = value
        found |= {f'{key}.{path}': width for path, width in widths(value).items()}
    return found


# --- The rules --------------------------------------------------------------------------------------


def test_every_part_that_takes_a_value_gets_it():
    parts, values = parts_of(embed_dims=48, num_heads=6, hidden_dims=96, dropout=0.2)
    found = hand_down(parts, values)
    assert set(widths(found).values()) == {48}
    assert len(widths(found)) > 15
    layer = found['decoder']['layer']
    assert (layer['dropout'], layer['feed_forward']['dropout'], layer['feed_forward']['hidden_dims']) == (0.2, 0.2, 96)
    assert layer['self_attention']['num_heads'] == found['encoder']['layer']['self_attention']['num_heads'] == 6
    assert 'dropout' not in found['query_generator']  # it takes none


def test_configs_that_are_handed_in_stay_as_they_are():
    parts, values = parts_of(embed_dims=48)
    before = copy.deepcopy(parts)
    hand_down(parts, values)
    assert parts == before


def test_the_nearest_statement_wins_and_holds_for_what_is_inside():
    parts, values = parts_of(dropout=0.1)
    parts['decoder']['layer']['dropout'] = 0.3
    parts['decoder']['layer']['feed_forward']['dropout'] = 0.5
    layer = hand_down(parts, values)['decoder']['layer']
    assert layer['self_attention']['dropout'] == layer['cross_attention']['dropout'] == layer['dropout'] == 0.3
    assert layer['feed_forward']['dropout'] == 0.5
    assert hand_down(parts, values)['encoder']['layer']['dropout'] == 0.1


def test_a_part_that_takes_no_such_argument_hands_a_value_to_those_inside():
    """The decoder takes no ``num_heads``: written there, it is an error, and the detector's is for its attentions."""
    parts, values = parts_of(num_heads=4)
    found = hand_down(parts, values)['decoder']
    assert 'num_heads' not in found
    assert found['layer']['cross_attention']['num_heads'] == 4


def test_num_classes_of_the_head_wins():
    """As MMDetection's users set it; a label embedding has as many rows."""
    model = tiny.tiny_config(
        num_classes=80,
        bbox_head=dict(num_classes=5),
        query_generator=dict(
            _delete_=True, type='DenoisingQueryGenerator', generator=dict(tiny.tiny_config().query_generator)
        ),
    )
    assert model.query_generator.num_classes == model.bbox_head.class_scores.num_classes == 5
    built = MODELS.build(model)
    assert len(built.query_generator.label_embedding) == built.bbox_head.class_branch.out_features == 5


def test_neck_gets_width_and_number_of_maps_and_nothing_else():
    parts, values = parts_of(embed_dims=48, num_levels=4, act_cfg=dict(type='ReLU'), num_heads=4)
    parts['encoder']['layer']['self_attention'] = dict(type='DeformableCellAttention')
    neck = hand_down(parts, values)['neck']
    assert neck == dict(parts['neck'], out_channels=48, num_outs=4)
    parts['neck'].update(out_channels=7, num_outs=1)
    assert hand_down(parts, values)['neck'] == parts['neck']


@pytest.mark.parametrize(('decoder', 'expected'), [(dict(num_layers=3), 3), (dict(), 6)])
def test_head_and_what_is_in_the_decoder_learn_its_number_of_layers(decoder, expected):
    """That of its config, or the default of its class."""
    parts, values = parts_of()
    parts['decoder'] |= decoder
    parts['decoder']['positional_query']['position_scale'] = dict(type='LayerScale')
    found = hand_down(parts, values)
    assert found['bbox_head']['num_layers'] == expected
    assert found['decoder']['positional_query']['position_scale']['num_layers'] == expected


@pytest.mark.parametrize(('encoder', 'expected'), [(dict(num_layers=2), 2), (dict(), 6)])
def test_a_scale_in_the_encoder_learns_the_layers_of_the_encoder(encoder, expected):
    """And not those of the decoder, neither for its scale nor for itself."""
    parts, values = parts_of()
    parts['encoder'] |= dict(position_scale=dict(type='LayerScale')) | encoder
    parts['decoder']['num_layers'] = 3
    found = hand_down(parts, values)['encoder']
    assert found['num_layers'] == found['position_scale']['num_layers'] == expected


@pytest.mark.parametrize(
    ('unknown', 'meant'), [('embed_dim', 'embed_dims'), ('num_clases', 'num_classes'), ('hidden_dim', 'hidden_dims')]
)
def test_a_value_that_no_part_takes_is_refused_with_the_nearest_name(unknown, meant):
    with pytest.raises(TypeError, match=rf'{unknown}=7.*taken by no part.*{meant}'):
        MODELS.build(Config(dict(tiny.tiny_config(), **{unknown: 7}))._cfg_dict)


def test_a_value_for_which_there_is_no_part_in_this_model_is_refused():
    """DETR has no anchors."""
    parts, values = parts_of('detr_r50', num_patterns=3)
    with pytest.raises(TypeError, match='num_patterns=3'):
        hand_down(parts, values)


def test_a_part_of_your_own_is_handed_values_as_well(monkeypatch):
    class MyFeedForward(nn.Linear):
        def __init__(self, embed_dims):
            super().__init__(embed_dims, embed_dims)

    monkeypatch.setitem(MMDET_MODELS.module_dict, 'MyFeedForward', MyFeedForward)
    layer = dict(feed_forward=dict(_delete_=True, type='MyFeedForward'))
    model = MODELS.build(tiny.tiny_config(decoder=dict(layer=layer)))
    assert model.decoder.layers[0].feed_forward.out_features == tiny.WIDTH


def test_a_type_may_be_a_class_and_an_unknown_one_takes_nothing():
    linear = parameters_of(nn.Linear)
    assert list(linear)[:2] == ['in_features', 'out_features']
    assert parameters_of('NoSuchPart') == {}
    assert default_of(dict(type=nn.Linear), 'bias') is True
    assert default_of(dict(type=nn.Linear, bias=False), 'bias') is False
    assert default_of(dict(type=nn.Linear), 'in_features') is None
    assert default_of(dict(type='NoSuchPart'), 'bias') is None


# --- The base models --------------------------------------------------------------------------------


@pytest.mark.parametrize('name', [*BASES, 'dab_detr_small', 'dn_detr_small'])
def test_another_width_is_one_line(name):
    """``embed_dims=96`` alone: every part that states a width has that one, and the model runs."""
    config = Config.fromfile(CONFIGS / f'_base_/models/{name}.py').model
    before = config.get('embed_dims', 256)
    config.embed_dims = 96
    config.backbone.init_cfg = None
    model = MODELS.build(config).eval()
    stated = {path: contract_of(part).embed_dims for path, part in model.named_modules()}
    stated = {path: width for path, width in stated.items() if width is not None}
    assert set(stated.values()) == {96}, stated
    assert {path.split('.')[0] for path in stated} >= {*tiny.PARTS} - {'neck'}
    # Points of deformable attention are 8 heads · 4 levels · 4 points · 2 coordinates, 256 by chance; a neck of
    # the small model sees 128 channels of its backbone.
    left = {
        path: tuple(parameter.shape)
        for path, parameter in model.named_parameters()
        if before in parameter.shape and 'sampling_offsets' not in path and not path.startswith(('backbone', 'neck'))
    }
    assert not left
    assert all(len(parameter) == 96 for parameter in model.neck.parameters())
    with torch.no_grad():
        _, boxes = model(*tiny.batch(), mode='tensor')
    assert boxes.isfinite().all()
