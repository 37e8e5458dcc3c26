"""What DAB-DETR needs of a backbone beside mmdet's ResNet: frozen batch norm that costs nothing in
training, and DC5's dilation."""

from __future__ import annotations

from typing import Any, cast

from mmdet.models.backbones import ResNet, resnet
from mmdet.models.layers import ResLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmdet_dab.models.folded_convolution import folded, folds
from mmdet_dab.registry import MODELS


class _FoldedBlock(nn.Module):
    """What both kinds of blocks share."""

    def _stages(self) -> list[tuple[Any, Any]]:
        """Convolutions and the norms after them."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if getattr(self, 'with_plugins', False) or not all(folds(*stage) for stage in self._stages()):
            return super().forward(x)
        if self.with_cp and x.requires_grad:
            return cast(Tensor, checkpoint(self._folded, x, use_reentrant=False))
        return self._folded(x)

    def _folded(self, x: Tensor) -> Tensor:
        residual, out = _shortcut(cast('nn.Sequential | None', self.downsample), x), x
        *before, last = self._stages()
        for stage in before:
            out = folded(*stage, out, 'relu')
        return folded(*last, out, 'relu', residual)


def _shortcut(downsample: nn.Sequential | None, x: Tensor) -> Tensor:
    """What is added to the output of a block."""
    if downsample is None:
        return x
    *before, convolution, norm = downsample
    for layer in before:
        x = layer(x)
    return folded(convolution, norm, x) if folds(convolution, norm) else norm(convolution(x))


# Named as mmdet's, by which sharded training finds the blocks.
class BasicBlock(_FoldedBlock, resnet.BasicBlock):
    """mmdet's block of ResNet-18 and 34."""

    def _stages(self) -> list[tuple[Any, Any]]:
        return [(self.conv1, self.norm1), (self.conv2, self.norm2)]


class Bottleneck(_FoldedBlock, resnet.Bottleneck):
    """mmdet's block of ResNet-50 and deeper."""

    def _stages(self) -> list[tuple[Any, Any]]:
        return [(self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)]


FOLDED = {resnet.BasicBlock: BasicBlock, resnet.Bottleneck: Bottleneck}


@MODELS.register_module()
class FoldingResNet(ResNet):
    """mmdet's ResNet, whose frozen batch norms are folded into the convolutions whenever it is
    called, in training, too (:mod:`~mmdet_dab.models.folded_convolution`).

    Results and state dict are those of mmdet's. What is no :class:`FrozenBatchNorm` is computed as
    mmdet does.

    Args:
        kwargs: of mmdet's ResNet.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def make_res_layer(self, **kwargs: Any) -> ResLayer:
        """One stage."""
        block = kwargs.pop('block')
        return super().make_res_layer(block=FOLDED.get(block, block), **kwargs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) -> the maps of ``out_indices``."""
        if self.deep_stem or not folds(self.conv1, self.norm1):
            return super().forward(x)
        x = self.maxpool(folded(self.conv1, self.norm1, x, 'relu'))
        maps = []
        for stage in self.res_layers:
            x = getattr(self, stage)(x)
            maps.append(x)
        return tuple(maps[index] for index in sorted(self.out_indices))


@MODELS.register_module()
class DilatedResNet(FoldingResNet):
    """A ResNet in which the first block of a dilated stage keeps the dilation of the stage before.

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
