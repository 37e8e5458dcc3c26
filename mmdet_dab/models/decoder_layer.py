"""One decoder layer: self-attention, cross-attention, feed-forward, each built from its config."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, check_place
from mmdet_dab.models.structures import ImageTokens, QueryPosition
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class DecoderLayer(BaseModule):
    """Three blocks, each with residual and norm after it.

    Args:
        self_attention: config of a part for decoder self-attention (``attention.py``).
        cross_attention: config of a part for decoder cross-attention.
        feed_forward: config of a part (B, N, D) -> (B, N, D).
        embed_dims: width D.
        dropout: of the residual branches.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        self_attention: dict,
        cross_attention: dict,
        feed_forward: dict,
        embed_dims: int = 256,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.contract = Contract(embed_dims=embed_dims)
        self.self_attention = MODELS.build(self_attention)
        self.cross_attention = MODELS.build(cross_attention)
        self.feed_forward = MODELS.build(feed_forward)
        check_place(self, 'self_attention', 'decoder self-attention')
        check_place(self, 'cross_attention', 'decoder cross-attention')
        self.self_attention_norm = nn.LayerNorm(embed_dims)
        self.cross_attention_norm = nn.LayerNorm(embed_dims)
        self.feed_forward_norm = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        content: Tensor,
        position: QueryPosition,
        anchors: Tensor,
        tokens: ImageTokens,
        mask: Tensor | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            content: (B, N, D).
            position: the positional queries of this layer.
            anchors: (B, N, 4 or 2) in 0..1, where the queries look.
            tokens: the encoded image.
            mask: (N, N) or (B, 1, N, N) bool for self-attention, True where a query must not look,
                or None.

        Returns:
            (B, N, D), the new content.
        """
        content = self.self_attention_norm(content + self.dropout(self.self_attention(content, position, mask)))
        content = self.cross_attention_norm(
            content + self.dropout(self.cross_attention(content, position, anchors, tokens))
        )
        return self.feed_forward_norm(content + self.dropout(self.feed_forward(content)))
