"""Channels-last by a line of the config: the same losses and gradients, laid out otherwise."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from mmdet_dab.registry import HOOKS
from tests.helpers import tiny


def step(model):
    """Losses, gradients by name, and whether what the backbone's convolutions gave was channels-last."""
    pictures, samples = tiny.batch()
    laid_out = []
    convolutions = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
    hooks = [
        convolution.register_forward_hook(
            lambda _, __, maps: laid_out.append(maps.is_contiguous(memory_format=torch.channels_last))
        )
        for convolution in convolutions
    ]
    losses = model(pictures, samples, mode='loss')
    sum(losses.values()).backward()
    for hook in hooks:
        hook.remove()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}, laid_out


def test_same_losses_and_gradients():
    plain, model = tiny.build().train(), tiny.build().train()
    weights = list(model.parameters())
    HOOKS.build(dict(type='mmdet_dab.ChannelsLastHook')).before_run(SimpleNamespace(model=model))
    assert all(weight is parameter for weight, parameter in zip(weights, model.parameters(), strict=True))
    (expected, expected_gradients, before), (found, gradients, after) = step(plain), step(model)
    assert not any(before)
    assert after
    assert all(after)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=1e-5, atol=1e-6, msg=name)
    for name, gradient in expected_gradients.items():
        if gradient is not None:
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-4, msg=name)
