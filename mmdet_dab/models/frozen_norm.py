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
        scale, shift = self.scale_and_shift()
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, (C,) each.

        Raises:
            RuntimeError: the weights are to be trained.
        """
        if self.weight.requires_grad:
            raise RuntimeError(
                f"{type(self).__name__} is not for training: write norm_cfg=dict(type='BN', requires_grad=True), "
                'or set requires_grad=False'
            )
        scale = self.weight * (cast(Tensor, self.running_var) + self.eps).rsqrt()
        return scale, self.bias - cast(Tensor, self.running_mean) * scale
