"""mmdet's own configs with parts of ours (configs/mix/mmdet_*), and backbones and necks of mmdet's under our parts."""

from __future__ import annotations

import copy
import functools
import itertools
import re

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config

from mmdet_dab.config import load_config
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mixes import MIXES, WIDTH, shrunk, step_and_predict
from tests.helpers.mmdet_models import their_config
from tests.helpers.paths import CONFIGS

#: Top-level variables that a mix has beside those of its base: parts of `_base_/parts/dab_detr.py`.
OWN = ('model', 'custom_imports', 'dab_', 'released_', 'deformable_', 'replace_')


@functools.cache
def load(name):
    return load_config(str(CONFIGS / 'mix' / f'{name}.py'), {})


@functools.cache
def base_of(name):
    return their_config(MIXES[name][0])


def plain(value):
    """Without the scope that mmengine notes in what comes from a package."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != '_scope_'}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_every_mix_is_here():
    assert sorted(MIXES) == sorted(path.stem for path in (CONFIGS / 'mix').glob('mmdet_*.py'))


@pytest.mark.parametrize('name', MIXES)
def test_mix_keeps_what_it_does_not_exchange(name):
    """Data, schedule, backbone, neck, losses: all that the base says, but for the parts that are named here."""
    _, exchanged = MIXES[name]
    ours, theirs = plain(load(name)._cfg_dict), plain(base_of(name)._cfg_dict)
    assert {key for key in ours['model'] if ours['model'][key] != theirs['model'].get(key, ...)} == exchanged
    assert not {key for key in theirs['model'] if key not in ours['model']}
    for loss in ('loss_cls', 'loss_bbox', 'loss_iou'):
        assert ours['model']['bbox_head'][loss] == theirs['model']['bbox_head'][loss]
    assert {key for key in ours if not key.startswith(OWN)} == {key for key in theirs if key != 'model'}
    for key in theirs:
        assert key == 'model' or ours[key] == theirs[key], key


@pytest.mark.parametrize('name', MIXES)
def test_mix_trains_a_step_and_predicts(name):
    """Gradients reach every trained parameter of every part."""
    model = MODELS.build(shrunk(load(name)))
    step_and_predict(model)
    assert not [
        key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert type(model).__module__.startswith('mmdet_dab.' if 'type' in MIXES[name][1] else 'mmdet.')


@pytest.mark.parametrize('name', [name for name, (_, exchanged) in MIXES.items() if exchanged == {'train_cfg'}])
def test_our_matcher_gives_the_losses_of_mmdets(name):
    """The same weights, batch and random numbers, and the assigner of the base."""
    assigners, losses = [], []
    for config in (load(name), base_of(name)):
        torch.manual_seed(0)
        model = MMDET_MODELS.build(shrunk(config))
        model.init_weights()
        assigners.append(type(model.bbox_head.assigner).__name__)
        losses.append(model.train()(*tiny.batch(), mode='loss'))
    assert assigners == ['MatcherAssigner', 'HungarianAssigner']
    assert list(losses[0]) == list(losses[1])
    for key, loss in losses[0].items():
        torch.testing.assert_close(loss, losses[1][key], msg=key)


def test_every_part_of_the_file_is_taken_by_a_config():
    parts = set(Config.fromfile(CONFIGS / '_base_/parts/dab_detr.py'))
    text = '\n'.join(path.read_text() for path in CONFIGS.rglob('*.py'))
    assert not [name for name in parts if not re.search(rf'\b{name}\b(?! = )', text)]


# --- Every combination of our parts -----------------------------------------------------------------


ANCHORS = dict(type='AnchorQueryGenerator', num_queries=7, initial_anchors=dict(type='NormalAnchors'))
QUERIES = {
    'boxes': ANCHORS,
    'points': ANCHORS | dict(anchor_dims=2),
    'denoising': dict(type='DenoisingQueryGenerator', generator=ANCHORS),
    'learned': dict(type='LearnedQueryGenerator', num_queries=7),
    'predicted points': dict(type='PredictedPointQueryGenerator', num_queries=7),
}
CONTENT_SCALE = dict(position_scale=dict(type='ContentScale'))
POSITIONS = {
    'boxes': dict(type='AnchorPositionalQuery', size_modulation=dict(type='SizeModulation'), **CONTENT_SCALE),
    'points': dict(type='AnchorPositionalQuery', anchor_dims=2, **CONTENT_SCALE),
    'deformable': dict(type='DeformablePositionalQuery', **CONTENT_SCALE),
    'learned': dict(type='LearnedPositionalQuery'),
    'conditional': dict(type='ConditionalPositionalQuery', **CONTENT_SCALE),
}
CROSS_ATTENTIONS = {
    'conditional': dict(type='ConditionalCrossAttention'),
    'plain': dict(type='QueryCrossAttention'),
    'deformable': dict(type='DeformableCrossAttention', num_levels=1),
}
#: Queries whose anchors move or stay, positional query, cross-attention: what fits together.
OF_ANCHORS = {
    *itertools.product(('boxes', 'denoising'), ('boxes',), ('conditional',)),
    *itertools.product(('boxes', 'denoising'), ('deformable',), CROSS_ATTENTIONS),
    ('points', 'points', 'conditional'),
}
#: The same for learned positions, which no update moves.
OF_LEARNED_POSITIONS = {
    ('predicted points', 'conditional', 'conditional'),
    ('learned', 'learned', 'conditional'),
    ('learned', 'learned', 'plain'),
    ('predicted points', 'learned', 'conditional'),
    ('predicted points', 'learned', 'plain'),
}
UPDATES = {'moving': dict(type='AnchorUpdate'), 'staying': None}
FITTING = {'moving': OF_ANCHORS, 'staying': OF_ANCHORS | OF_LEARNED_POSITIONS}


@pytest.fixture(scope='module')
def base():
    return tiny.tiny_config()


def combined(base, update, queries, position, cross_attention):
    config = copy.deepcopy(base)
    layer = dict(config.decoder.layer, cross_attention=CROSS_ATTENTIONS[cross_attention])
    config.query_generator = QUERIES[queries]
    config.decoder = dict(
        type='TransformerDecoder',
        num_layers=2,
        layer=layer,
        positional_query=POSITIONS[position],
        anchor_update=UPDATES[update],
    )
    return config


def test_combinations_are_as_many():
    """150, of which 23 fit."""
    assert len(QUERIES) * len(POSITIONS) * len(CROSS_ATTENTIONS) * len(UPDATES) == 150
    assert sum(map(len, FITTING.values())) == 23


@pytest.mark.parametrize('update', UPDATES)
def test_what_does_not_fit_is_refused_and_what_fits_trains(update, base):
    """No combination is built that fails later, or that has a part which is never trained."""
    for choice in itertools.product(QUERIES, POSITIONS, CROSS_ATTENTIONS):
        if choice not in FITTING[update]:
            with pytest.raises(ValueError, match=r' has .*, but .* has .*: '), torch.device('meta'):
                MODELS.build(combined(base, update, *choice))
            continue
        model = MODELS.build(combined(base, update, *choice))
        step_and_predict(model)
        assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None], choice


# --- Backbones and necks of mmdet's -----------------------------------------------------------------

RESNET_18 = dict(
    _delete_=True,
    type='ResNet',
    depth=18,
    base_channels=8,
    stem_channels=8,
    norm_cfg=dict(type='BN', requires_grad=True),
)
SWIN = dict(
    _delete_=True,
    type='SwinTransformer',
    embed_dims=8,
    depths=(1, 1, 1, 1),
    num_heads=(1, 2, 2, 4),
    window_size=4,
    out_indices=(3,),
)


def fpn(channels, num_outs):
    return dict(_delete_=True, type='FPN', in_channels=channels, out_channels=WIDTH, num_outs=num_outs)


#: Name -> overrides of the tiny DAB-DETR, cells that the decoder then sees in an image of 64 × 96.
BACKBONES = {
    'ResNet-18': (dict(backbone=RESNET_18 | dict(out_indices=(3,)), neck=dict(in_channels=[64])), 2 * 3),
    'Swin': (dict(backbone=SWIN, neck=dict(in_channels=[64])), 2 * 3),
    'second level of an FPN': (
        dict(backbone=RESNET_18, neck=fpn([8, 16, 32, 64], 4), tokenizer=dict(levels=(1,))),
        8 * 12,
    ),
    'third level of an FPN over Swin': (
        dict(
            backbone=SWIN | dict(out_indices=(0, 1, 2, 3)),
            neck=fpn([8, 16, 32, 64], 5),
            tokenizer=dict(levels=(2,)),
        ),
        4 * 6,
    ),
    'two necks': (
        dict(
            backbone=RESNET_18,
            neck=[fpn([8, 16, 32, 64], 4) | dict(_delete_=False), dict(type='BFP', in_channels=WIDTH, num_levels=4)],
            tokenizer=dict(levels=(3,)),
        ),
        2 * 3,
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_and_neck(name):
    overrides, num_cells = copy.deepcopy(BACKBONES[name])
    neck = overrides.pop('neck') if isinstance(overrides['neck'], list) else None
    config = tiny.tiny_config(**overrides)
    if neck is not None:
        config.neck = [{key: value for key, value in one.items() if key != '_delete_'} for one in neck]
    model = MODELS.build(config)
    cells = []
    model.tokenizer.register_forward_hook(lambda module, inputs, tokens: cells.append(tokens.content.size(1)))
    step_and_predict(model)
    assert cells == [num_cells] * 2
    assert next(model.backbone.parameters()).grad.abs().sum() > 0


class TestLevels:
    def test_several_levels_of_a_pyramid(self):
        """The first and the last of three maps, which are told apart by an embedding."""
        tokenizer = MODELS.build(dict(type='ImageTokenizer', embed_dims=WIDTH, num_levels=2, levels=(0, 2)))
        encoder = MODELS.build(dict(type='SinePositionalEncoder', embed_dims=WIDTH))
        maps = [torch.full((1, WIDTH, size, size), float(size)) for size in (4, 3, 2)]
        tokens = tokenizer(maps, None, encoder)
        assert tokens.shapes == ((4, 4), (2, 2))
        assert tokens.content[0, :, 0].tolist() == [4.0] * 16 + [2.0] * 4

    @pytest.mark.parametrize('levels', [(0, 1), (), (-1,)])
    def test_levels_are_as_many_as_said(self, levels):
        with pytest.raises(ValueError, match=r'ImageTokenizer: levels=.* must be num_levels=1 indices from 0 on'):
            MODELS.build(dict(type='ImageTokenizer', embed_dims=WIDTH, levels=levels))

    def test_level_that_the_neck_has_not(self):
        model = tiny.build(tokenizer=dict(levels=(3,)))
        with pytest.raises(ValueError, match=r'levels=\(3,\) counts from 0, but the neck gave 1 feature map'):
            model(*tiny.batch(), mode='tensor')
