"""The encoder: self-attention over the cells, whose positions are scaled by their content."""

from __future__ import annotations

from dataclasses import replace

import torch
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmdet_dab.models.compatibility import Contract, check_place, require
from mmdet_dab.models.structures import ImageTokens
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class EncoderLayer(BaseModule):
    """Self-attention and feed-forward, each with residual and norm after it (as in DETR).

    Args:
        self_attention: config of a part for encoder self-attention (``attention.py``).
        feed_forward: config of a part (B, S, D) -> (B, S, D).
        embed_dims: width D.
        dropout: of both residual branches.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        self_attention: dict,
        feed_forward: dict,
        embed_dims: int = 256,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.contract = Contract(embed_dims=embed_dims)
        self.self_attention = MODELS.build(self_attention)
        self.feed_forward = MODELS.build(feed_forward)
        check_place(self, 'self_attention', 'encoder self-attention')
        self.attention_norm = nn.LayerNorm(embed_dims)
        self.feed_forward_norm = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, tokens: ImageTokens) -> Tensor:
        """One layer.

        Args:
            content: (B, S, D).
            position: (B, S, D), as this layer is to see it.
            tokens: for padding and shapes.

        Returns:
            (B, S, D), the new content.
        """
        content = self.attention_norm(content + self.dropout(self.self_attention(content, position, tokens)))
        return self.feed_forward_norm(content + self.dropout(self.feed_forward(content)))


@MODELS.register_module()
class TransformerEncoder(BaseModule):
    """A stack of layers.

    Args:
        layer: config of one layer.
        num_layers: how many; with 0 the decoder sees the backbone's features.
        position_scale: config of what the cells' positions are multiplied by before every layer
            (``position_scale.py``; released code's ``query_scale`` of the encoder); None: nothing
            (DETR).
        embed_dims: width D.
        recompute: in training, keep only what goes into a layer and compute the rest once more in
            the backward pass (activation checkpointing): less memory, more time, equal gradients.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        layer: dict,
        num_layers: int = 6,
        position_scale: dict | None = None,
        embed_dims: int = 256,
        recompute: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name, scales = type(self).__name__, position_scale is not None
        require(name, 'num_layers', num_layers, num_layers >= 0, 'at least 0')
        require(name, 'position_scale', position_scale, num_layers > 0 or not scales, 'None without layers')
        self.contract = Contract(embed_dims=embed_dims)
        self.layers = ModuleList(MODELS.build(layer) for _ in range(num_layers))
        self.position_scale = MODELS.build(position_scale) if scales else None
        factors = getattr(self.position_scale, 'scaled_layers', num_layers)
        require(name, 'position_scale.num_layers', factors, factors == num_layers, f'num_layers={num_layers}')
        self.recompute = recompute

    def forward(self, tokens: ImageTokens) -> ImageTokens:
        """Encode: the same tokens with new content."""
        content, position = tokens.content, tokens.position
        for index, layer in enumerate(self.layers):
            scaled = position if self.position_scale is None else self.position_scale(position, content, index)
            if self.recompute and torch.is_grad_enabled():
                content = checkpoint(layer, content, scaled, tokens, use_reentrant=False)
            else:
                content = layer(content, scaled, tokens)
        return replace(tokens, content=content)
