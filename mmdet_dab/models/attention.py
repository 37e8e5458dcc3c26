"""The attentions. Content and position are kept apart (paper, section 3 and figure 5).

Three places, three signatures; a part of your own takes the place of ours by having the same one:

    encoder self-attention      (content, position, tokens)            -> (B, S, D)
    decoder self-attention      (content, position, mask)              -> (B, N, D)
    decoder cross-attention     (content, position, anchors, tokens)   -> (B, N, D)

Residuals, norms and feed-forward belong to the layers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import NO_CONTRACT, Contract
from mmdet_dab.models.layers import xavier_matrices
from mmdet_dab.models.structures import ImageTokens, QueryPosition
from mmdet_dab.registry import MODELS

#: Where fused kernels spare the whole attention matrix; they want values as wide as keys.
FUSED_DEVICES = ('cpu', 'cuda')
#: Below, a CPU's backward pass of attention is faster in float32 than in bfloat16, up to four
#: times.
FEW_KEYS = 512


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """``linear(x)`` for a position x, which is float32 whatever the precision of the weights."""
    return linear(x.to(linear.weight.dtype))


class MultiHeadAttention(BaseModule):
    """What all attentions share: heads, the scaled dot product, the output projection.

    Args:
        embed_dims: width D of what comes in and goes out.
        num_heads: heads; must divide D.
        dropout: of the attention weights, in training.
        init_cfg: see mmengine's BaseModule.
    """

    #: What a class states of itself.
    own_facts = NO_CONTRACT

    def __init__(
        self, embed_dims: int = 256, num_heads: int = 8, dropout: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'{type(self).__name__}: num_heads={num_heads} does not divide embed_dims={embed_dims}')
        self.contract = replace(self.own_facts, embed_dims=embed_dims)
        self.num_heads = num_heads
        self.dropout = dropout
        self.out = nn.Linear(embed_dims, embed_dims)

    def reset_projections(self) -> None:
        """Xavier for the projections."""
        xavier_matrices(self)
        nn.init.zeros_(self.out.bias)

    def init_weights(self) -> None:
        """Reset the projections; after that ``init_cfg`` has its say."""
        self.reset_projections()
        super().init_weights()

    def split(self, x: Tensor) -> Tensor:
        """(B, N, H·E) -> (B, H, N, E)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of all heads, and the output projection.

        Args:
            query: (B, H, N, E); the scale is 1/√E.
            key: (B, H, S, E).
            value: (B, H, S, D/H).
            mask: broadcast to (B, H, N, S): bool, True where a query must *not* look, or a number
                that is added to the scaled dot product; None: nothing.

        Returns:
            (B, N, D).
        """
        allowed = ~mask if mask is not None and mask.dtype == torch.bool else mask
        dropout = self.dropout if self.training else 0.0
        width = value.size(-1)
        if width != query.size(-1) and value.device.type in FUSED_DEVICES:
            value = F.pad(value, (0, query.size(-1) - width))
        if key.size(2) < FEW_KEYS and torch.is_autocast_enabled('cpu') and key.device.type == 'cpu':
            query, key, value = query.float(), key.float(), value.float()
            with torch.autocast('cpu', enabled=False):
                attended = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
        return self.out(attended[..., :width].transpose(1, 2).flatten(2))


class PlacedAttention(MultiHeadAttention):
    """What DETR's attentions share: position is added to the content of query and key, and not to
    that of value."""

    def __init__(
        self, embed_dims: int = 256, num_heads: int = 8, dropout: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(embed_dims, num_heads, dropout, init_cfg)
        self.query = nn.Linear(embed_dims, embed_dims)
        self.key = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)

    def reset_projections(self) -> None:
        """Xavier as for one (3D, D) matrix, which is how ``nn.MultiheadAttention`` holds these
        three."""
        super().reset_projections()
        xavier_matrices(self.query, self.key, self.value, gain=0.5**0.5)
        for linear in (self.query, self.key, self.value):
            nn.init.zeros_(linear.bias)

    def attend_placed(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D), (B, S, D) and (B, S, D) before projection, mask as in :meth:`attend` -> (B, N,
        D)."""
        query, key = project(self.query, query), project(self.key, key)
        return self.attend(self.split(query), self.split(key), self.split(self.value(value)), mask)


@MODELS.register_module()
class CellSelfAttention(PlacedAttention):
    """Self-attention of the encoder: Q = K = content + position, V = content (as in DETR).

    For one feature level: every cell looks at every other, which four levels of them make too many.
    """

    own_facts = Contract(place='encoder self-attention', levels=1)

    def forward(self, content: Tensor, position: Tensor, tokens: ImageTokens) -> Tensor:
        """Let every cell look at every cell that is not padding.

        Args:
            content: (B, S, D), from the previous layer.
            position: (B, S, D), scaled by the encoder.
            tokens: for the padding.

        Returns:
            (B, S, D).
        """
        placed = content + position
        mask = None if tokens.padding is None else tokens.padding[:, None, None]
        return self.attend_placed(placed, placed, content, mask)


@MODELS.register_module()
class QuerySelfAttention(PlacedAttention):
    """Self-attention of the decoder without a projection for each term: Q = K = C + P, V = C (as in
    DETR)."""

    own_facts = Contract(place='decoder self-attention')

    def forward(self, content: Tensor, position: QueryPosition, mask: Tensor | None = None) -> Tensor:
        """Let the queries look at one another.

        Args:
            content: (B, N, D).
            position: of which ``learned`` (P) is used.
            mask: (N, N) or (B, 1, N, N) bool, True where a query must not look, or None.

        Returns:
            (B, N, D).
        """
        placed = content + position.learned
        return self.attend_placed(placed, placed, content, mask)


@MODELS.register_module()
class QueryCrossAttention(PlacedAttention):
    """Cross-attention of the decoder with one projection of content and position: Q = C + P, K = F
    + P_F (DETR)."""

    own_facts = Contract(place='decoder cross-attention', sine_code=False)

    def forward(self, content: Tensor, position: QueryPosition, anchors: Tensor, tokens: ImageTokens) -> Tensor:
        """Let the queries look at the image.

        Args:
            content: (B, N, D).
            position: of which ``learned`` (P) is used.
            anchors: not needed here.
            tokens: the encoded image.

        Returns:
            (B, N, D).
        """
        mask = None if tokens.padding is None else tokens.padding[:, None, None]
        return self.attend_placed(content + position.learned, tokens.content + tokens.position, tokens.content, mask)


@MODELS.register_module()
class ConditionalSelfAttention(MultiHeadAttention):
    """Self-attention of the decoder: Q = K = C + P, V = C, with a projection for each term (eq.
    3)."""

    own_facts = Contract(place='decoder self-attention')

    def __init__(
        self, embed_dims: int = 256, num_heads: int = 8, dropout: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(embed_dims, num_heads, dropout, init_cfg)
        self.query_content = nn.Linear(embed_dims, embed_dims)
        self.query_position = nn.Linear(embed_dims, embed_dims)
        self.key_content = nn.Linear(embed_dims, embed_dims)
        self.key_position = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)

    def forward(self, content: Tensor, position: QueryPosition, mask: Tensor | None = None) -> Tensor:
        """Let the queries look at one another.

        Args:
            content: (B, N, D).
            position: of which ``learned`` (P) is used.
            mask: (N, N) or (B, 1, N, N) bool, True where a query must not look, or None.

        Returns:
            (B, N, D).
        """
        query = self.query_content(content) + project(self.query_position, position.learned)
        key = self.key_content(content) + project(self.key_position, position.learned)
        return self.attend(self.split(query), self.split(key), self.split(self.value(content)), mask)


@MODELS.register_module()
class ConditionalCrossAttention(MultiHeadAttention):
    """Cross-attention of the decoder: Q = [C ; PE(x, y)·scale], K = [F ; PE(x_F, y_F)], V = F (eq.
    4).

    Content and position are set side by side in every head, so that their dot products add up
    without cross terms: what is looked for, and where.

    Args:
        embed_dims: width D.
        num_heads: heads; must divide D. A head's query and key have 2·D/heads channels.
        dropout: of the attention weights, in training.
        position_in_content: also add the projected P to the content of the query, and the cells'
            position to that of the key. The released code does so in the first layer, whose
            content says nothing yet, and only there.
        init_cfg: see mmengine's BaseModule.
    """

    own_facts = Contract(place='decoder cross-attention')

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        dropout: float = 0.0,
        position_in_content: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(embed_dims, num_heads, dropout, init_cfg)
        self.query_content = nn.Linear(embed_dims, embed_dims)
        self.query_sine = nn.Linear(embed_dims, embed_dims)
        self.key_content = nn.Linear(embed_dims, embed_dims)
        self.key_position = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.query_position = nn.Linear(embed_dims, embed_dims) if position_in_content else None

    def forward(self, content: Tensor, position: QueryPosition, anchors: Tensor, tokens: ImageTokens) -> Tensor:
        """Let the queries look at the image.

        Args:
            content: (B, N, D).
            position: ``sine`` is the positional half of the query; ``learned`` (P) is used with
                ``position_in_content``.
            anchors: not needed here; deformable attention samples around them.
            tokens: the encoded image.

        Returns:
            (B, N, D).
        """
        query, key = self.query_content(content), self.key_content(tokens.content)
        key_position = project(self.key_position, tokens.position)
        if self.query_position is not None:
            query = query + project(self.query_position, position.learned)
            key = key + key_position
        query = self.beside(query, project(self.query_sine, position.sine))
        key = self.beside(key, key_position)
        return self.attend(query, key, self.split(self.value(tokens.content)), self.mask(anchors, tokens))

    def mask(self, anchors: Tensor, tokens: ImageTokens) -> Tensor | None:
        """Where queries must not look, as :meth:`attend` takes it: at padding."""
        return None if tokens.padding is None else tokens.padding[:, None, None]

    def beside(self, content: Tensor, position: Tensor) -> Tensor:
        """[content ; position] in every head: twice (B, N, D) -> (B, H, N, 2·D/H)."""
        return torch.cat((self.split(content), self.split(position)), dim=-1)
