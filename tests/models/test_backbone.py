"""The backbone's own parts: batch norm that never trains, and DC5's dilation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
