"""Starting weights for training from scratch: anchors look around themselves from the first step.

The paper's cross-attention *can* pool from an anchor's region, but with random projections it does
not at the start, and finding out how takes a DETR most of a short training. Nothing but the start
differs
here: the model, its weights' layout and its cost are the same. Used as ``init_cfg`` of a part:

    decoder=dict(
        positional_query=dict(position_scale=dict(init_cfg=dict(type='UnitPositionScale'))),
        layer=dict(cross_attention=dict(init_cfg=dict(type='DirectedAttention', radius=0.1))))

(The idea of heads that start in different directions is that of Deformable DETR's sampling offsets,
section A.4 there, and a Gaussian centred per head is that of SMCA, ICCV 2021.)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmdet_dab.registry import WEIGHT_INITIALIZERS


def directed_projections(
    embed_dims: int, num_heads: int, radius: float, gain: float, temperature: float
) -> tuple[Tensor, Tensor]:
    """Projections of the sine codes of anchors and cells, whose product peaks beside the anchor.

    A head reads the highest frequencies of PE(y) and PE(x). On the anchor's side each pair of sine
    and cosine is turned by the phase of the head's shift: sin(a + φ) = sin a cos φ + cos a sin φ.
    So the dot product is gain² · Σ cos(ω (anchor + shift − cell)), largest where the cell is at
    anchor + shift.

    Args:
        embed_dims: width D of the codes, ordered (y, x) with sines and cosines interleaved.
        num_heads: heads, which divide the full turn; D / heads must be a multiple of 4.
        radius: length of the shift, as part of the image.
        gain: how sharp the peak is.
        temperature: of the codes.

    Returns:
        weights (D, D) for the codes of anchors and of cells.
    """
    width = embed_dims // num_heads
    anchor, cell = torch.zeros(embed_dims, embed_dims), torch.zeros(embed_dims, embed_dims)
    for head in range(num_heads):
        direction = 2 * math.pi * head / num_heads
        for axis, shift in enumerate((radius * math.sin(direction), radius * math.cos(direction))):
            for pair in range(width // 4):
                phase = 2 * math.pi * shift * temperature ** (-4 * pair / embed_dims)
                row, column = head * width + axis * width // 2 + 2 * pair, axis * embed_dims // 2 + 2 * pair
                turn = torch.tensor([[math.cos(phase), math.sin(phase)], [-math.sin(phase), math.cos(phase)]])
                anchor[row : row + 2, column : column + 2] = gain * turn
                cell[row : row + 2, column : column + 2] = gain * torch.eye(2)
    return anchor, cell


@WEIGHT_INITIALIZERS.register_module()
class DirectedAttention:
    """Start of a :class:`ConditionalCrossAttention`: head h looks at ``radius`` in direction h ·
    360° / heads.

    What a head finds on one side of the anchor tells the box branch which way to move.

    Args:
        radius: distance from the anchor's centre, as part of the image; half an anchor does well.
        gain: sharpness of each head's region.
        temperature: of the positional encoder, which must be the same for cells and boxes.
    """

    def __init__(self, radius: float, gain: float = 2.5, temperature: float = 20) -> None:
        if not (radius >= 0 and gain > 0 and temperature > 0):
            raise ValueError(
                f'{type(self).__name__}: radius={radius!r} must not be negative, gain={gain!r} and '
                f'temperature={temperature!r} must be positive'
            )
        self.radius, self.gain, self.temperature = radius, gain, temperature

    def __call__(self, attention: Any) -> None:
        """Set ``query_sine`` and ``key_position`` of the attention.

        Raises:
            ValueError: when a head is too narrow for sine and cosine of x and of y.
        """
        dims, heads = attention.out.in_features, attention.num_heads
        if dims // heads % 4:
            raise ValueError(f'{type(self).__name__}: embed_dims={dims} / num_heads={heads} is not a multiple of 4')
        weights = directed_projections(dims, heads, self.radius, self.gain, self.temperature)
        with torch.no_grad():
            for linear, weight in zip((attention.query_sine, attention.key_position), weights, strict=True):
                linear.weight.copy_(weight)
                nn.init.zeros_(linear.bias)


@WEIGHT_INITIALIZERS.register_module()
class UnitPositionScale:
    """Start of a :class:`ContentScale`: the factors are 1 whatever the content.

    Random factors would scatter the code of the anchor, which :class:`DirectedAttention` relies on.
    """

    def __call__(self, scale: Any) -> None:
        """Set the last layer of the scale's MLP."""
        last = scale.layers[-1]
        nn.init.zeros_(last.weight)
        nn.init.ones_(last.bias)


@WEIGHT_INITIALIZERS.register_module()
class BoxesAtReferences:
    """Start of a head's box branches: every layer's boxes are its references.

    Without it they start as the random boxes of an untrained MLP. Queries without anchors need
    that: they would all start with the same box (DETR).

    Args:
        size_bias: what the first branch adds to w and h before the sigmoid; 0 keeps the anchors,
            -2 makes them smaller (Deformable DETR).
    """

    def __init__(self, size_bias: float = 0.0) -> None:
        self.size_bias = size_bias

    def __call__(self, head: Any) -> None:
        """Set the last layer of every box branch."""
        for branch in head.box_branches:
            nn.init.zeros_(branch.layers[-1].weight)
            nn.init.zeros_(branch.layers[-1].bias)
        nn.init.constant_(head.box_branches[0].layers[-1].bias[2:], self.size_bias)
