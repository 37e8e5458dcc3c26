"""What positions are multiplied by, by hand; and the names that tensors had before the scale was a part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmdet_dab.registry import MODELS
from tests.helpers import tiny

D = 8


def part(name, **config):
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, embed_dims=D, **config))


@pytest.mark.parametrize(('name', 'factors'), [('ContentScale', D), ('ScalarScale', 1)])
def test_content_scale_by_hand(name, factors):
    """position · (W₂ relu(W₁ C + b₁) + b₂): a factor for every channel, or one for all; the same in all layers."""
    scale = part(name)
    position, content = torch.randn(2, 2, 5, D)
    first, second = scale.layers
    factor = (content @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    assert factor.shape == (2, 5, factors)
    for layer in (0, 3):
        torch.testing.assert_close(scale(position, content, layer), position * factor)
    assert scale.reads_content


def test_layer_scale_by_hand():
    """A factor for every channel of every layer, 1 at the start, whatever the content."""
    scale = part('LayerScale', num_layers=3)
    position, content = torch.randn(2, 2, 5, D)
    assert torch.equal(scale(position, content, 1), position)
    with torch.no_grad():
        scale.factors.copy_(torch.arange(3 * D).view(3, D))
    assert torch.equal(scale(position, content, 2), position * torch.arange(2 * D, 3 * D))
    assert torch.equal(scale(position, content, 2), scale(position, torch.randn(2, 5, D), 2))
    assert not scale.reads_content


def test_content_scale_starts_as_xavier_unless_init_cfg_says_otherwise():
    scale = part('ContentScale')
    for linear in scale.layers:
        nn.init.constant_(linear.weight, 7)
    scale.init_weights()
    bound = (6 / (2 * D)) ** 0.5
    assert all(0.5 * bound < linear.weight.abs().max() <= bound for linear in scale.layers)
    ones = part('ContentScale', init_cfg=dict(type='UnitPositionScale'))
    ones.init_weights()
    position, content = torch.randn(2, 2, 5, D)
    assert torch.equal(ones(position, content, 1), position)


# --- Checkpoints from before the scale was a part ---------------------------------------------------

FORMER = {
    'AnchorPositionalQuery': (
        dict(position_scale=dict(type='ContentScale'), size_modulation=dict(type='SizeModulation')),
        {'position_scale.': 'content_scale.', 'size_modulation.reference_size.': 'reference_size.'},
    ),
    'AnchorPositionalQuery, scale per layer': (
        dict(position_scale=dict(type='LayerScale')),
        {'position_scale.factors': 'layer_scale', 'size_modulation.reference_size.': 'reference_size.'},
    ),
}


@pytest.mark.parametrize('case', FORMER)
def test_former_names_of_the_detector_s_tensors_load(case):
    positional_query, names = FORMER[case]
    model, other = (tiny.tiny_config(decoder=dict(positional_query=positional_query)) for _ in range(2))
    model, other = MODELS.build(model), MODELS.build(other)
    former, renamed = {}, 0
    for name, tensor in model.state_dict().items():
        before = name
        for now, then in names.items():
            before = before.replace(f'decoder.positional_query.{now}', f'decoder.positional_query.{then}')
        renamed += before != name
        former[before] = tensor + 1
    assert renamed >= 5
    other.load_state_dict(former, strict=True)
    assert all(torch.equal(tensor, model.state_dict()[name] + 1) for name, tensor in other.state_dict().items())
    model.load_state_dict(other.state_dict(), strict=True)  # and those of today


@pytest.mark.parametrize('name', ['DeformablePositionalQuery', 'ConditionalPositionalQuery'])
def test_former_name_of_the_scale_loads_in_other_positional_queries(name):
    query = part(name, position_scale=dict(type='ContentScale', embed_dims=D))
    state = query.state_dict()
    former = {key.replace('position_scale.', 'content_scale.'): tensor + 1 for key, tensor in state.items()}
    assert former.keys() != state.keys()
    query.load_state_dict(former, strict=True)
    expected = former['content_scale.layers.0.weight']
    assert torch.equal(query.position_scale.layers[0].weight, expected)
