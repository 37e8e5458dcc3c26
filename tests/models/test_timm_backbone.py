"""TimmBackbone, on timm where it is installed, and always on a stand-in."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys

import pytest
import torch
from torch import nn

from mmdet_dab.errors import CheckpointError, ConfigError
from mmdet_dab.registry import MODELS
from tests.helpers.stand_in_timm import stand_in

REAL = importlib.util.find_spec('timm') is not None


@pytest.fixture(
    params=['stand-in', pytest.param('real', marks=pytest.mark.skipif(not REAL, reason='pip install timm'))]
)
def timm(request, monkeypatch):
    """The module that the wrapper imports."""
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    if request.param == 'stand-in':
        monkeypatch.setitem(sys.modules, 'timm', stand_in())
    return importlib.import_module('timm')


def backbone(**settings) -> nn.Module:
    return MODELS.build(dict(type='mmdet_dab.TimmBackbone', **{'model': 'resnet18', 'weights': None, **settings}))


def test_maps_have_the_strides_that_were_asked_for(timm):
    model = backbone(strides=(4, 16))
    x = torch.randn(2, 3, 64, 96)
    maps = model(x)
    assert [tuple(f.shape) for f in maps] == [(2, model.out_channels[0], 16, 24), (2, model.out_channels[1], 4, 6)]
    whole = timm.create_model('resnet18', features_only=True)
    whole.load_state_dict({**whole.state_dict(), **model.body.state_dict()})
    expected = [
        f for f, stride in zip(whole.eval()(x), whole.feature_info.reduction(), strict=True) if stride in (4, 16)
    ]
    for feature, other in zip(model.eval()(x), expected, strict=True):
        torch.testing.assert_close(feature, other)


def test_stages_after_the_last_map_have_no_weights(timm):
    names = set(backbone(strides=(8,)).state_dict())
    assert names < set(backbone(strides=(8, 32)).state_dict())


def test_norms_are_frozen_unless_asked_for(timm):
    x = torch.randn(2, 3, 64, 64)
    for frozen in (True, False):
        model = backbone(norm_eval=frozen, norm_frozen=frozen).train()
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        means = [norm.running_mean.clone() for norm in norms]
        sum(feature.sum() for feature in model(x)).backward()
        kept = all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, means, strict=True))
        assert kept == frozen
        assert all((norm.weight.grad is None) == frozen for norm in norms)
        assert all(p.grad is not None for p in model.parameters() if p.dim() == 4)


def test_maps_with_channels_last_are_turned(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', stand_in())
    torch.manual_seed(0)
    plain = backbone().eval()
    turned = backbone(model_args=dict(output_fmt='NHWC')).eval()
    turned.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    for feature, expected in zip(turned(x), plain(x), strict=True):
        torch.testing.assert_close(feature, expected)


@pytest.mark.skipif(not REAL, reason='pip install timm')
def test_a_transformer_gives_maps_like_the_others():
    swin = backbone(model='swin_tiny_patch4_window7_224', model_args=dict(img_size=(64, 96)))
    assert [tuple(f.shape[1:]) for f in swin(torch.zeros(1, 3, 64, 96))] == [(192, 8, 12), (384, 4, 6), (768, 2, 3)]


def test_weights_of_a_file_are_loaded_by_init_weights(timm, tmp_path):
    torch.manual_seed(1)
    donor = timm.create_model('resnet18')
    torch.save(donor.state_dict(), tmp_path / 'weights.pth')
    model = backbone(weights=str(tmp_path / 'weights.pth'))
    own = model.body.state_dict()
    assert not all(torch.equal(own[name], donor.state_dict()[name]) for name in own)
    random = torch.get_rng_state()
    model.init_weights()
    own = model.body.state_dict()
    assert all(torch.equal(own[name], donor.state_dict()[name]) for name in own)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize('damage', ['lacking', 'deeper', 'half a file', 'no file', 'no network'])
def test_weights_that_do_not_fit_are_refused(timm, tmp_path, damage):
    path = tmp_path / 'weights.pth'
    state = timm.create_model('resnet34' if damage == 'deeper' else 'resnet18').state_dict()
    if damage == 'lacking':
        del state[next(name for name, tensor in state.items() if tensor.dim() == 4)]
    if damage != 'no file':
        torch.save(state, path)
    if damage == 'half a file':
        path.write_bytes(path.read_bytes()[:1000])
    model = backbone(weights='timm' if damage == 'no network' else str(path))
    with pytest.raises(CheckpointError, match='resnet18.*scratch' if damage == 'no network' else path.name):
        model.init_weights()


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(model='resnt18'), "model='resnt18'.*resnet18"),
        (dict(strides=()), 'strides'),
        (dict(strides=(16, 8)), 'strides'),
        (dict(strides=(5,)), '4, 8, 16, 32'),
        (dict(model_args=dict(no_such=1)), 'no_such'),
    ],
)
def test_what_timm_does_not_have_is_named(timm, settings, named):
    with pytest.raises(ConfigError, match=named):
        backbone(**settings)


def test_drop_path_reaches_the_model(timm):
    model = backbone(drop_path_rate=0.3)
    assert model.arguments['drop_path_rate'] == 0.3


def test_without_timm_the_pip_line_is_named(monkeypatch):
    original = builtins.__import__
    monkeypatch.delitem(sys.modules, 'timm', raising=False)
    monkeypatch.setattr(importlib, 'import_module', lambda name: original('no_such_module_as_timm'))
    with pytest.raises(ConfigError, match='pip install'):
        backbone()
