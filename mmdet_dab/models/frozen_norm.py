"""A batch norm that never trains."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mmdet_dab.registry import MODELS


@MODELS.register_module()
class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm with fixed statistics and weights, in training too: x · scale + shift.

    Computes what ``dict(type='BN', requires_grad=False)`` with ``norm_eval=True`` computes, and has
    the same tensors in the state dict. But as nothing of it is trained, its input need not be kept
    for the backward pass: that is half of what a ResNet keeps. For a backbone's ``norm_cfg``, with
    ``requires_grad=False``.

    Raises:
        RuntimeError: in the forward pass, when its weights are to be trained.
    """

    _abbr_ = 'bn'  # the name of the layer in mmcv's blocks

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        scale, shift = scale_and_shift(self)
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])


def is_frozen(norm: nn.Module) -> bool:
    """Whether it is such a norm."""
    return isinstance(norm, FrozenBatchNorm)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a frozen norm multiplies by and adds, (C,) each.

    Raises:
        RuntimeError: its weights are to be trained.
    """
    norm = cast(FrozenBatchNorm, norm)
    if norm.weight.requires_grad:
        raise RuntimeError(
            f"{type(norm).__name__} is not for training: write norm_cfg=dict(type='BN', requires_grad=True), "
            'or set requires_grad=False'
        )
    scale = norm.weight * (cast(Tensor, norm.running_var) + norm.eps).rsqrt()
    return scale, norm.bias - cast(Tensor, norm.running_mean) * scale
