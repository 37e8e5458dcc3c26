"""Modules of mmdet and mmcv whose forward pass makes a constant of a size, in a form without.

They compute the same from the same weights. ``torch.export`` follows sizes as symbols as long as
they stay Python integers: not through tensors, ``int(...)``, ``float`` division, or an ``if``.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmdet.models.layers import DeformableDetrTransformerEncoder
from mmdet.models.layers.transformer.utils import AdaptivePadding, PatchMerging
from torch import Tensor, nn

from mmdet_dab.interop.mmdet_stacks import MMDetDeformableDecoder, MMDetDeformableEncoder
from mmdet_dab.models.deformable_attention import Shapes, sample_grid
from mmdet_dab.models.structures import ImageTokens


def missing(size: int, step: int) -> int:
    """What a size lacks to a multiple of ``step``."""
    return (size + step - 1) // step * step - size


def laid_out(x: Tensor) -> Tensor:
    """A contiguous copy, before axes are flattened that are not side by side in memory.

    To ask whether one is needed would fix the sizes.
    """
    return x.clone(memory_format=torch.contiguous_format)


class ExportablePadding(AdaptivePadding):
    """mmdet's padding to whole strides: always a padding, which may be of nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        if self.kernel_size != self.stride or self.dilation != (1, 1):
            return super().forward(x)
        below, right = (missing(size, step) for size, step in zip(x.shape[-2:], self.stride, strict=True))
        left, above = (right // 2, below // 2) if self.padding == 'same' else (0, 0)
        return F.pad(x, (left, right - left, above, below - above))


class ExportableMerging(PatchMerging):
    """Swin's patch merging by a reshape instead of an unfold."""

    def forward(self, x: Tensor, input_size: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
        """(B, H·W, C) -> (B, H/2·W/2, 4·C or less), and its size."""
        step = self.sampler.stride
        if self.sampler.kernel_size != step or self.sampler.dilation not in (1, (1, 1)):
            return super().forward(x, input_size)
        rows, columns = step
        maps = x.unflatten(1, tuple(input_size)).permute(0, 3, 1, 2)
        if self.adap_padding:
            maps = self.adap_padding(maps)
        else:
            maps = maps[:, :, : maps.size(2) // rows * rows, : maps.size(3) // columns * columns]
        height, width = maps.size(2) // rows, maps.size(3) // columns
        # nn.Unfold has channels outermost:
        # (B, C, h, rows, w, columns) -> (B, h, w, C, rows, columns)
        patches = maps.unflatten(3, (width, columns)).unflatten(2, (height, rows)).permute(0, 2, 4, 1, 3, 5)
        merged = laid_out(patches).flatten(3).flatten(1, 2)
        return self.reduction(merged if self.norm is None else self.norm(merged)), (height, width)


class ExportableWindows(ShiftWindowMSA):
    """Swin's attention within windows, with batch and windows in axes of their own."""

    def forward(self, query: Tensor, hw_shape: Sequence[int]) -> Tensor:
        """(B, H·W, C) -> (B, H·W, C)."""
        size, shift = self.window_size, self.shift_size
        height, width = hw_shape
        maps = query.unflatten(1, (height, width))
        maps = F.pad(maps, (0, 0, 0, missing(width, size), 0, missing(height, size)))
        rows, columns = (height + size - 1) // size, (width + size - 1) // size
        if shift:
            maps = maps.roll((-shift, -shift), (1, 2))
        windows = maps.unflatten(2, (columns, size)).unflatten(1, (rows, size)).transpose(2, 3)
        windows = laid_out(windows).flatten(3, 4).flatten(1, 2)  # (B, windows, cells, C)
        found = self.within(windows, self.apart(rows, columns, query.device) if shift else None)
        maps = found.unflatten(1, (rows, columns)).unflatten(3, (size, size)).transpose(2, 3)
        maps = laid_out(maps).flatten(3, 4).flatten(1, 2)  # (B, rows · size, columns · size, C)
        if shift:
            maps = maps.roll((shift, shift), (1, 2))
        # A slice would be asked how it lies in memory, which depends on whether there was padding.
        for axis, length in ((1, height), (2, width)):
            maps = maps.index_select(axis, torch.arange(length, device=query.device))
        return self.drop(maps.flatten(1, 2))

    def within(self, windows: Tensor, apart: Tensor | None) -> Tensor:
        """Attention of every window (B, W, N, C) to itself; ``apart`` (W, 1, N, N) hides."""
        part: Any = self.w_msa
        parts = part.qkv(windows).unflatten(-1, (3, part.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = parts.unbind(0)  # (B, W, heads, N, E)
        cells = self.window_size**2
        bias = part.relative_position_bias_table[part.relative_position_index.flatten()]
        logits = query * part.scale @ key.transpose(-2, -1) + bias.unflatten(0, (cells, cells)).permute(2, 0, 1)
        if apart is not None:
            logits = logits + apart
        return part.proj((logits.softmax(-1) @ value).transpose(2, 3).flatten(3))

    def apart(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """(rows · columns, 1, N, N): -100, as Swin has it, between cells that the shift brought
        together from opposite borders."""
        size = self.window_size

        def strips(count: int) -> Tensor:  # (count, size): 0, and 1 and 2 on both sides of the cut in the last window
            place = torch.arange(count * size, device=device)
            strip = (place >= count * size - size).long() + (place >= count * size - self.shift_size).long()
            return strip.unflatten(0, (count, size))

        vertical, horizontal = strips(rows), strips(columns)
        strip = 3 * vertical[:, None, :, None] + horizontal[None, :, None, :]  # (rows, columns, size, size)
        strip = laid_out(strip).flatten(2, 3).flatten(0, 1)
        return -100.0 * (strip[:, None, :, None] != strip[:, None, None, :]).float()


class ExportableDeformableAttention(MultiScaleDeformableAttention):
    """mmcv's deformable attention; ``spatial_shapes`` are integers, not a tensor."""

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Shapes = (),
        **unused: Any,
    ) -> Tensor:
        """(B, N, D), as mmcv's with ``batch_first``."""
        assert reference_points is not None
        assert self.batch_first
        cells = query if value is None else value
        residual = query if identity is None else identity
        placed = query if query_pos is None else query + query_pos
        projected = self.value_proj(cells)
        if key_padding_mask is not None:
            projected = projected.masked_fill(key_padding_mask[..., None], 0.0)
        per_head = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(placed).unflatten(-1, (*per_head, 2))
        weights = self.attention_weights(placed).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        if reference_points.size(-1) == 2:
            one = offsets.new_ones(())
            unit = torch.stack([torch.stack((one / width, one / height)) for height, width in spatial_shapes])
            unit = unit[:, None]  # (V, 1, 2)
        else:
            unit = reference_points[:, :, None, :, None, 2:] / (2 * self.num_points)
        locations = reference_points[:, :, None, :, None, :2] + offsets * unit
        value = projected.unflatten(-1, (self.num_heads, -1))
        found = sample_grid(value, spatial_shapes, locations, weights.unflatten(-1, per_head[1:]))
        return self.dropout(self.output_proj(found)) + residual


class ExportableDeformableEncoder(DeformableDetrTransformerEncoder):
    """mmdet's encoder; its reference points come from integers, not from a tensor."""

    @staticmethod
    def get_encoder_reference_points(spatial_shapes: Shapes, valid_ratios: Tensor, device: Any) -> Tensor:
        """(B, S, V, 2), the centre of every cell in parts of each padded level."""
        centers = []
        for level, shape in enumerate(spatial_shapes):
            y, x = ((torch.arange(size, device=device) + 0.5) / size for size in shape)
            padded = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1).flatten(0, 1)
            centers.append(padded / valid_ratios[:, None, level])
        return torch.cat(centers, dim=1)[:, :, None] * valid_ratios[:, None]


def level_arguments(tokens: ImageTokens) -> dict[str, Any]:
    """What the classes above want to know of the levels; where they start follows from their
    shapes."""
    return dict(spatial_shapes=tokens.shapes, level_start_index=None, valid_ratios=tokens.valid_ratios)


class ExportableEncoderPart(MMDetDeformableEncoder):
    """Hands integers to mmdet's encoder."""

    level_arguments = staticmethod(level_arguments)


class ExportableDecoderPart(MMDetDeformableDecoder):
    """Hands integers to mmdet's decoder."""

    level_arguments = staticmethod(level_arguments)


#: Classes -> their exportable form.
EXPORTABLE = MappingProxyType(
    {
        form.__bases__[0]: form
        for form in (
            ExportablePadding,
            ExportableMerging,
            ExportableWindows,
            ExportableDeformableAttention,
            ExportableDeformableEncoder,
            ExportableEncoderPart,
            ExportableDecoderPart,
        )
    }
)


def make_exportable(model: nn.Module) -> None:
    """Give every module that has one its exportable form, in place: class by class, so that its
    weights and all that it holds stay. A class of a user's own that is derived from one of them
    stays as it is."""
    for module in model.modules():
        module.__class__ = EXPORTABLE.get(type(module), type(module))
