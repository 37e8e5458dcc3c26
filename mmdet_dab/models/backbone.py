"""What DAB-DETR needs of a backbone beside mmdet's ResNet: DC5's dilation, and a batch norm that
never trains."""

from __future__ import annotations

from typing import Any, cast

import torch
from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from torch import Tensor, nn

from mmdet_dab.registry import MODELS


@MODELS.register_module()
class DilatedResNet(ResNet):
    """mmdet's ResNet, but the first block of a dilated stage keeps the dilation of the stage
    before.

    DC5 takes the stride of 2 out of the last stage and dilates its convolutions instead, so that
    they see as far as before. The first block's 3×3 convolution did the striding: it saw cells that
    were not strided yet, and in torchvision it goes on without dilation; the blocks after it are
    dilated. mmdet's ResNet dilates the first block too, which moves the logits of the released
    weights by 3e-2.

    Args:
        kwargs: of mmdet's ResNet; ``strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)`` for DC5.

    Raises:
        ValueError: a stage is both strided and dilated.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def make_res_layer(self, **kwargs: Any) -> ResLayer:
        """One stage; ``dilation`` is that of the blocks after the first."""
        dilation, stride = kwargs.pop('dilation'), kwargs['stride']
        if dilation == 1:
            return super().make_res_layer(dilation=1, **kwargs)
        if stride != 1:
            raise ValueError(
                f'{type(self).__name__}: a stage has stride {stride} and dilation {dilation}: the dilation stands in '
                'for the stride, so give the stage strides=1, for DC5 strides=(1, 2, 2, 1)'
            )
        num_blocks = kwargs.pop('num_blocks')
        # Each stride of 2 that was taken out doubled the dilation.
        stage = super().make_res_layer(num_blocks=1, dilation=dilation // 2, **kwargs)
        kwargs['inplanes'] = kwargs['planes'] * kwargs['block'].expansion
        return stage.extend(super().make_res_layer(num_blocks=num_blocks - 1, dilation=dilation, **kwargs))


@MODELS.register_module()
class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm with fixed statistics and weights, in training too: x · scale + shift.

    Computes what ``dict(type='BN', requires_grad=False)`` with ``norm_eval=True`` computes, and has
    the same tensors
    in the state dict. But as nothing of it is trained, its input need not be kept for the backward
    pass: that is half of what a ResNet keeps. For a backbone's ``norm_cfg``, with
    ``requires_grad=False``.

    Raises:
        RuntimeError: in the forward pass, when its weights are to be trained.
    """

    _abbr_ = 'bn'  # the name of the layer in mmcv's blocks

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if self.weight.requires_grad:
            raise RuntimeError(
                f"{type(self).__name__} is not for training: write norm_cfg=dict(type='BN', requires_grad=True), "
                'or set requires_grad=False'
            )
        scale = self.weight * (cast(Tensor, self.running_var) + self.eps).rsqrt()
        shift = self.bias - cast(Tensor, self.running_mean) * scale
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])
