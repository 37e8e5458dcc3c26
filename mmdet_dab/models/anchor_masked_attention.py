"""Cross-attention that looks inside the anchor: the idea of soft pooling, taken to its end.

After DE-DETR (arXiv:2203.09507) and Cascade-DETR (arXiv:2307.11035), which found it to pay most
where there are few images.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmdet_dab.models.attention import ConditionalCrossAttention
from mmdet_dab.models.compatibility import require
from mmdet_dab.models.structures import ImageTokens
from mmdet_dab.registry import MODELS

#: Of rounding, in parts of the image.
EPS = 1e-6


def beyond(anchors: Tensor, tokens: ImageTokens, reach: float) -> Tensor:
    """How far cells lie outside of anchors, as a multiple of half the widened anchor.

    Args:
        anchors: (B, N, 4) cx cy w h in 0..1.
        tokens: the encoded image.
        reach: what w and h are multiplied by. No anchor is narrower than a cell, so that every one
            has a cell inside.

    Returns:
        (B, N, S): (|x − cx| / (reach · w/2) − 1) + the same of y, negative terms as 0; 0 inside.
    """
    levels = []
    for (height, width), anchor in zip(tokens.shapes, tokens.on_canvas(anchors).unbind(2), strict=True):
        distances = []
        for axis, cells in ((0, width), (1, height)):
            middle, half = anchor[..., axis, None], reach * anchor[..., axis + 2, None] / 2
            half = half.clamp(min=0.5 / cells) + EPS
            place = (torch.arange(cells, device=anchor.device) + 0.5) / cells
            distances.append(((place - middle).abs() / half - 1).clamp(min=0))  # (B, N, cells)
        along_x, along_y = distances
        levels.append((along_y[..., :, None] + along_x[..., None, :]).flatten(2))
    return torch.cat(levels, dim=2)


@MODELS.register_module()
class AnchorMaskedCrossAttention(ConditionalCrossAttention):
    """The cross-attention of DAB-DETR, of which a query sees only the cells inside its anchor.

    Args:
        embed_dims, num_heads, dropout, position_in_content: see there.
        reach: anchors are widened by this factor; None: the query sees the whole image, as it
            should in the first layer, whose anchors know nothing of the image yet.
        fade: None: cells outside are hidden. A number: they are seen less, their logits are lower
            by ``fade`` for every half size (of the widened anchor) that they lie outside, in x and
            y each.
        init_cfg: see mmengine's BaseModule.
    """

    own_facts = replace(ConditionalCrossAttention.own_facts, anchor_dims=4)

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        dropout: float = 0.0,
        position_in_content: bool = False,
        reach: float | None = 1.0,
        fade: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(embed_dims, num_heads, dropout, position_in_content, init_cfg)
        name = type(self).__name__
        require(name, 'reach', reach, reach is None or reach > 0, 'positive, or None')
        require(name, 'fade', fade, fade is None or fade > 0, 'positive, or None')
        self.reach, self.fade = reach, fade

    def mask(self, anchors: Tensor, tokens: ImageTokens) -> Tensor | None:
        """(B, 1, N, S): True at padding and outside; with ``fade``, what is added to the logits."""
        padding = super().mask(anchors, tokens)
        if self.reach is None:
            return padding
        outside = beyond(anchors.detach(), tokens, self.reach)[:, None]
        if self.fade is None:
            hidden = outside > 0
            return hidden if padding is None else hidden | padding
        lower = (-self.fade * outside).to(tokens.content.dtype)
        return lower if padding is None else lower.masked_fill(padding, -torch.inf)
