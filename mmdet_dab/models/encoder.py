"""The encoder: self-attention over the cells, whose positions are scaled by their content."""

from __future__ import annotations

from dataclasses import replace

import torch
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmdet_dab.models.layers import MLP, xavier_matrices
from mmdet_dab.models.structures import ImageTokens
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class EncoderLayer(BaseModule):
    """Self-attention and feed-forward, each with residual and norm after it (as in DETR).

    Args:
        self_attention: config of a part with the role "encoder self-attention".
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
        self.contract = {'embed_dims': embed_dims}
        self.roles = {'self_attention': 'encoder self-attention'}
        self.self_attention = MODELS.build(self_attention)
        self.feed_forward = MODELS.build(feed_forward)
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
        num_layers: how many; with 0 the decoder sees the backbone's features.
        layer: config of one layer.
        embed_dims: width D.
        position_scale: multiply the cells' position by MLP(content) before every layer, one MLP for
            all (released code's ``query_scale`` of the encoder); False leaves it as it is (DETR).
        recompute: in training, keep only what goes into a layer and compute the rest once more in the backward
            pass (activation checkpointing): less memory, more time, the same gradients.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        num_layers: int,
        layer: dict,
        embed_dims: int = 256,
        position_scale: bool = True,
        recompute: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_layers < 0 or (num_layers == 0 and position_scale):
            raise ValueError(
                f'{type(self).__name__}: num_layers={num_layers} with position_scale={position_scale}: an encoder '
                'without layers needs position_scale=False'
            )
        self.contract = {'embed_dims': embed_dims}
        self.layers = ModuleList(MODELS.build(layer) for _ in range(num_layers))
        self.position_scale = MLP(embed_dims, embed_dims, embed_dims, 2) if position_scale else None
        self.recompute = recompute

    def init_weights(self) -> None:
        """Xavier for the scale; the layers look after themselves."""
        if self.position_scale is not None:
            xavier_matrices(self.position_scale)
        super().init_weights()

    def forward(self, tokens: ImageTokens) -> ImageTokens:
        """Encode: the same tokens with new content."""
        content, position = tokens.content, tokens.position
        for layer in self.layers:
            scaled = position if self.position_scale is None else position * self.position_scale(content)
            if self.recompute and torch.is_grad_enabled():
                content = checkpoint(layer, content, scaled, tokens, use_reentrant=False)
            else:
                content = layer(content, scaled, tokens)
        return replace(tokens, content=content)
