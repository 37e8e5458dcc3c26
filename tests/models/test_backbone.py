"""The backbone's own parts: batch norm that never trains, folded in training, and DC5's dilation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_dab.models import backbone, folded_convolution
from mmdet_dab.registry import MODELS

DC5 = dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))


def frozen_and_plain() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(6).eval()
    for tensor in (plain.weight, plain.running_var):
        nn.init.uniform_(tensor, 0.5, 2)
    for tensor in (plain.bias, plain.running_mean):
        nn.init.normal_(tensor)
    frozen = MODELS.get('mmdet_dab.FrozenBatchNorm')(6).requires_grad_(False).train()
    frozen.load_state_dict(plain.state_dict(), strict=True)
    return frozen, plain


def test_frozen_batch_norm_is_batch_norm_in_evaluation():
    frozen, plain = frozen_and_plain()
    x = torch.randn(2, 6, 5, 7, requires_grad=True)
    weights = torch.randn(2, 6, 5, 7)
    (gradient,) = torch.autograd.grad((frozen(x) * weights).sum(), x)
    (expected,) = torch.autograd.grad((plain(x) * weights).sum(), x)
    torch.testing.assert_close(frozen(x), plain(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(frozen.running_mean, plain.running_mean)


def test_frozen_batch_norm_keeps_no_map_for_the_backward_pass():
    frozen, plain = frozen_and_plain()
    x = torch.randn(2, 6, 5, 7, requires_grad=True)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        frozen(x)
        assert max(kept) == 6
        plain(x)
    assert max(kept) == x.numel()


def test_frozen_batch_norm_refuses_to_be_trained():
    frozen, _ = frozen_and_plain()
    with pytest.raises(RuntimeError, match=r"write norm_cfg=dict\(type='BN', requires_grad=True\)"):
        frozen.requires_grad_(True)(torch.zeros(1, 6, 2, 2))


FROZEN = dict(norm_cfg=dict(type='FrozenBatchNorm', requires_grad=False))
RESNETS = {
    'depth 50, frozen stages': dict(type='FoldingResNet', depth=50, frozen_stages=1, base_channels=16),
    'depth 18': dict(type='FoldingResNet', depth=18, base_channels=16),
    'recomputing': dict(type='FoldingResNet', depth=18, base_channels=16, with_cp=True),
    'DC5': dict(type='DilatedResNet', depth=50, base_channels=16, **DC5),
}


def resnet(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(dict(FROZEN, **settings))
    for name, tensor in model.state_dict().items():
        if name.endswith(('running_var', 'weight')) and tensor.dim() == 1:
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith(('running_mean', 'bias')):
            nn.init.uniform_(tensor, -0.2, 0.2)
    model.train()
    return model


def maps_and_gradients(model: nn.Module, images: torch.Tensor) -> tuple[list, dict[str, torch.Tensor]]:
    model.zero_grad()
    maps = model(images)
    sum((feature * feature).mean() for feature in maps).backward()
    return list(maps), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize('kind', RESNETS)
def test_folded_in_training_is_not_folded(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Maps and gradients are those of mmdet's blocks, in which norms and ReLUs are modules."""
    model, images = resnet(**RESNETS[kind]), torch.randn(2, 3, 65, 97)
    called: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda norm, *_: called.append(norm))
    found, gradients = maps_and_gradients(model, images)
    assert not called
    monkeypatch.setattr(backbone, 'folds', lambda *_: False)
    expected, expected_gradients = maps_and_gradients(model, images)
    assert called
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))
        assert gradients[name].stride() == model.get_parameter(name).stride()


@pytest.mark.parametrize('optimised', [False, True])
@pytest.mark.parametrize('kind', ['depth 50, frozen stages', 'depth 18', 'DC5'])
def test_folded_in_prediction_is_not_folded(kind: str, optimised: bool, monkeypatch: pytest.MonkeyPatch):
    """Without gradients too, with norms that are folded in every call, and with those folded for good."""
    model, images = resnet(**RESNETS[kind]), torch.randn(2, 3, 65, 97)
    model.eval()
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(backbone, 'folds', lambda *_: False)
        expected = model(images)
    if optimised:
        model = fuse_conv_bn(model).requires_grad_(False)
    called: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ReLU):
            module.register_forward_hook(lambda layer, *_: called.append(layer))
    with torch.no_grad():
        found = model(images)
    assert not called
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_who_counts_operations_of_a_prediction_sees_plain_ones():
    convolution, norm = nn.Conv2d(6, 6, 3, bias=False), frozen_and_plain()[0]
    with torch.no_grad():
        assert folded_convolution.folds(convolution, norm)
        with FlopCounterMode(display=False):
            assert not folded_convolution.folds(convolution, norm)


def test_folding_keeps_the_names_of_mmdets_resnet():
    ours, mmdets = (MODELS.build(dict(type=kind, depth=18, **FROZEN)) for kind in ('FoldingResNet', 'mmdet.ResNet'))
    assert ours.state_dict().keys() == mmdets.state_dict().keys()


@pytest.mark.parametrize('activation', ['none', 'relu', 'relu6'])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(('kernel', 'groups'), [(1, 1), (3, 1), (3, 8)])
def test_a_folded_convolution(activation: str, stride: int, kernel: int, groups: int):
    """Against convolution, norm, sum and activation one after the other, with derivatives by autograd."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm = MODELS.build(dict(type='FrozenBatchNorm', num_features=8)).requires_grad_(False)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 8, 9, 11, requires_grad=True)
    residual = torch.randn_like(convolution(x)).requires_grad_()
    function = {'none': lambda y: y, 'relu': torch.relu, 'relu6': nn.functional.relu6}[activation]
    expected = function(norm(convolution(3 * x)) + residual)
    found = folded_convolution.folded(convolution, norm, 3 * x, activation, residual)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights, inputs = torch.randn_like(expected), (x, convolution.weight, residual)
    gradients = torch.autograd.grad((found * weights).sum(), inputs)
    for gradient, other in zip(gradients, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)


def test_a_folded_convolution_keeps_its_input_and_output_only():
    convolution, norm = nn.Conv2d(6, 6, 3, padding=1, bias=False), frozen_and_plain()[0]
    x, kept = torch.randn(2, 6, 32, 32, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda t: t):
        out = folded_convolution.folded(convolution, norm, x, 'relu')
    large = [tensor for tensor in kept if tensor.numel() == x.numel()]
    assert len(large) == 2
    assert any(tensor.data_ptr() == out.data_ptr() for tensor in large)


def test_under_autocast_weights_are_folded_before_they_are_rounded():
    convolution, norm = nn.Conv2d(6, 6, 3, padding=1, bias=False), frozen_and_plain()[0]
    x = torch.randn(2, 6, 16, 16, requires_grad=True)
    exact = folded_convolution.folded(convolution, norm, x)
    with torch.autocast('cpu', torch.bfloat16):
        found = folded_convolution.folded(convolution, norm, x)
    assert found.dtype == torch.bfloat16
    assert 0 < (found - exact).abs().max() < 0.03 * exact.abs().max()
    (gradient,) = torch.autograd.grad(found.float().sum(), convolution.weight)
    assert gradient.dtype == torch.float32


def test_the_first_block_of_a_dilated_stage_is_not_dilated():
    """As torchvision's ``replace_stride_with_dilation``; mmdet's own dilates it."""
    model = MODELS.get('mmdet_dab.DilatedResNet')(depth=50, **DC5)
    stages = [[block.conv2.dilation[0] for block in stage] for stage in (model.layer1, model.layer3, model.layer4)]
    assert stages == [[1] * 3, [1] * 6, [1, 2, 2]]
    assert model.layer4[0].downsample[0].stride == (1, 1)
    names = MODELS.get('mmdet_dab.DilatedResNet')(depth=50).state_dict()
    assert model.state_dict().keys() == names.keys()


def test_a_stage_with_stride_and_dilation_is_refused():
    with pytest.raises(ValueError, match=r'stride 2 and dilation 2.*strides=\(1, 2, 2, 1\)'):
        MODELS.get('mmdet_dab.DilatedResNet')(depth=50, dilations=(1, 1, 1, 2))
