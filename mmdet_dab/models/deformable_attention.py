"""Deformable attention: a query looks at a few points around its reference, on every feature level.

After Deformable DETR (Zhu et al., ICLR 2021, arXiv:2010.04159, section 4.1 and eq. 3): where to
look and how much each point counts are linear in the query; there are no keys. In
DAB-Deformable-DETR the references of the decoder are the anchors, and their width and height set
how far its points may lie (Deformable DETR, section A.4).

The sampling itself is mmcv's compiled operation where that is present, else PyTorch's
``grid_sample``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab import compat
from mmdet_dab.models.attention import project
from mmdet_dab.models.compatibility import NO_CONTRACT, Contract
from mmdet_dab.models.layers import xavier_matrices
from mmdet_dab.models.structures import ImageTokens, QueryPosition
from mmdet_dab.registry import MODELS

Shapes = Sequence[tuple[int, int]]


def sample_levels(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of values at points between the cells, bilinear, zero beyond the border.

    Args:
        value: (B, S, H, E), the cells of all levels, per head.
        shapes: (height, width) of the V levels.
        locations: (B, N, H, V, P, 2), x and y in parts of each padded level.
        weights: (B, N, H, V, P).

    Returns:
        (B, N, H·E). All of it is float32 or float64: half precision cannot tell points within a
        cell apart.
    """
    sample = sample_compiled if compiled_operation_serves(value) else sample_grid
    return sample(value, shapes, locations, weights)


def compiled_operation_serves(value: Tensor) -> bool:
    """Whether mmcv's compiled operation is there, and compiled for the device of ``value`` (it
    needs a GPU)."""
    if not (value.is_cuda and compat.has_compiled_operations()):
        return False
    from mmcv.ops import get_compiling_cuda_version

    return get_compiling_cuda_version() != 'not available'  # what it says when compiled for the CPU only


def sample_grid(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """:func:`sample_levels` by ``grid_sample``, level by level, all heads at once."""
    batch, num_queries, num_heads = locations.shape[:3]
    # (B, N, H, V, P, …) -> (V, B·H, N, P, …): to grid_sample a head is one more image
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    level_weights = weights.permute(3, 0, 2, 1, 4).flatten(1, 2)
    cells = value.split([height * width for height, width in shapes], dim=1)
    total = value.new_zeros(batch * num_heads, value.size(-1), num_queries)
    for level, shape, grid, weight in zip(cells, shapes, grids, level_weights, strict=True):
        images = level.permute(0, 2, 3, 1).reshape(batch * num_heads, -1, *shape)  # (B·H, E, height, width)
        found = F.grid_sample(images, grid, padding_mode='zeros', align_corners=False)  # (B·H, E, N, P)
        total = total + (found * weight[:, None]).sum(-1)
    return total.view(batch, -1, num_queries).transpose(1, 2)  # (B·H, E, N) -> (B, N, H·E)


def sample_compiled(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """:func:`sample_levels` by mmcv's compiled operation."""
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    sizes = torch.tensor([height * width for height, width in shapes], device=value.device)
    starts = sizes.cumsum(0) - sizes
    # The operation works through the batch in steps, which must divide it: here in one.
    return MultiScaleDeformableAttnFunction.apply(
        value.contiguous(),
        torch.tensor(shapes, device=value.device),
        starts,
        locations.contiguous(),
        weights.contiguous(),
        len(value),
    )


def head_directions(num_heads: int) -> Tensor:
    """(H, 2) unit vectors x, y, head h in direction h · 360° / H, stretched to the border of a
    square."""
    angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    return direction / direction.abs().amax(-1, keepdim=True)


def cell_centers(tokens: ImageTokens) -> Tensor:
    """(B, S, 2), the centre x, y of every cell in parts of the image; more than 1 on padding."""
    centers = []
    for level, shape in enumerate(tokens.shapes):
        y, x = ((torch.arange(size, device=tokens.content.device) + 0.5) / size for size in shape)
        padded = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1).flatten(0, 1)  # (height, width, 2) -> (·, 2)
        centers.append(padded / tokens.valid_ratios[:, None, level])
    return torch.cat(centers, dim=1)


class DeformableAttention(BaseModule):
    """What both deformable attentions share.

    Args:
        embed_dims: width D of what comes in and goes out.
        num_heads: heads H; must divide D.
        num_levels: feature levels V.
        num_points: points P of every head on every level.
        init_cfg: see mmengine's BaseModule.
    """

    #: What a class states of itself.
    own_facts = NO_CONTRACT

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'{type(self).__name__}: num_heads={num_heads} does not divide embed_dims={embed_dims}')
        self.contract = replace(self.own_facts, embed_dims=embed_dims, levels=num_levels)
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        self.sampling_offsets = nn.Linear(embed_dims, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(embed_dims, num_heads * num_levels * num_points)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.out = nn.Linear(embed_dims, embed_dims)

    def init_weights(self) -> None:
        """Every head starts in a direction of its own, its points at 1, 2, … P, all of equal
        weight."""
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        nn.init.zeros_(self.attention_weights.bias)
        steps = torch.arange(1, self.num_points + 1)[:, None]
        starts = head_directions(self.num_heads)[:, None, None] * steps  # (H, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(starts.expand(-1, self.num_levels, -1, -1).flatten())
        for linear in (self.value, self.out):
            xavier_matrices(linear)
            nn.init.zeros_(linear.bias)
        super().init_weights()

    def look(self, query: Tensor, content: Tensor, tokens: ImageTokens, centers: Tensor, unit: Tensor) -> Tensor:
        """Sample around the references, at centre + offset · unit.

        Args:
            query: (B, N, D), from which offsets and weights come.
            content: (B, S, D), the cells that are looked at.
            tokens: for padding and shapes.
            centers: (B, N, V, 2) x, y in parts of each padded level.
            unit: broadcast to (B, N, V, 2), the length of an offset of 1, along x and y.

        Returns:
            (B, N, D).
        """
        per_head = (self.num_heads, self.num_levels, self.num_points)
        value = self.value(content)
        if tokens.padding is not None:
            value = value.masked_fill(tokens.padding[..., None], 0)
        exact = torch.promote_types(value.dtype, torch.float32)
        offsets = project(self.sampling_offsets, query).to(exact).unflatten(-1, (*per_head, 2))
        weights = project(self.attention_weights, query).to(exact).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        # (B, N, V, 2) -> (B, N, 1, V, 1, 2): the same for all heads and points
        locations = centers[:, :, None, :, None] + offsets * unit[:, :, None, :, None]
        value = value.to(exact).unflatten(-1, (self.num_heads, -1))
        sampled = sample_levels(value, tokens.shapes, locations.to(exact), weights.unflatten(-1, per_head[1:]))
        return project(self.out, sampled)


@MODELS.register_module()
class DeformableCellAttention(DeformableAttention):
    """Self-attention of the encoder: a cell looks around its own place, on every level; an offset
    of 1 is a cell."""

    own_facts = Contract(place='encoder self-attention')

    def forward(self, content: Tensor, position: Tensor, tokens: ImageTokens) -> Tensor:
        """Let every cell look around itself.

        Args:
            content: (B, S, D), from the previous layer.
            position: (B, S, D).
            tokens: for padding, shapes and valid ratios.

        Returns:
            (B, S, D).
        """
        centers = tokens.on_canvas(cell_centers(tokens))
        one = centers.new_ones(())  # divided by sizes one by one, which an exported graph can follow
        cells = torch.stack([torch.stack((one / width, one / height)) for height, width in tokens.shapes])
        return self.look(content + position, content, tokens, centers, cells[None, None])


@MODELS.register_module()
class DeformableCrossAttention(DeformableAttention):
    """Cross-attention of the decoder: a query, C + P, looks around its anchor.

    An offset of P (the number of points) reaches the border of the anchor box, so that the points
    of a head start evenly spread between its centre and its border. Takes the same arguments as
    :class:`DeformableAttention`.
    """

    own_facts = Contract(place='decoder cross-attention', anchor_dims=4, sine_code=False)

    def forward(self, content: Tensor, position: QueryPosition, anchors: Tensor, tokens: ImageTokens) -> Tensor:
        """Let the queries look at the image.

        Args:
            content: (B, N, D).
            position: of which ``learned`` (P) is used.
            anchors: (B, N, 4) cx cy w h in parts of the images.
            tokens: the encoded image.

        Returns:
            (B, N, D).
        """
        boxes = tokens.on_canvas(anchors)
        unit = boxes[..., 2:] / (2 * self.num_points)
        return self.look(content + position.learned, tokens.content, tokens, boxes[..., :2], unit)
