"""The queries of mmdet's detectors as parts beside ours, with the names of its checkpoints."""

from __future__ import annotations

from mmdet.structures import SampleList
from mmengine.model import BaseModule, xavier_init
from torch import nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.models.structures import ImageTokens, Queries
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class MMDetPointQueryGenerator(BaseModule):
    """The queries of mmdet's ``DeformableDETR``: learned content and position, a point linear in
    the position.

    Args:
        num_queries: N.
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, num_queries: int = 300, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        require(type(self).__name__, 'num_queries', num_queries, num_queries >= 1, 'at least 1')
        self.contract = Contract(query_kind='learned positions', anchor_dims=2, embed_dims=embed_dims)
        self.query_embedding = nn.Embedding(num_queries, 2 * embed_dims)
        self.reference_points_fc = nn.Linear(embed_dims, 2)

    def init_weights(self) -> None:
        """Xavier for the points."""
        xavier_init(self.reference_points_fc, distribution='uniform', bias=0.0)
        super().init_weights()

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch: content and position (B, N, D) and anchors (B, N, 2)."""
        weight = self.query_embedding.weight.expand(tokens.content.size(0), -1, -1)
        position, content = weight.chunk(2, dim=-1)
        return Queries(content, self.reference_points_fc(position).sigmoid(), position)


@MODELS.register_module()
class MMDetAnchorQueryGenerator(BaseModule):
    """The queries of mmdet's ``DABDETR``: learned anchors, content that is zero or a pattern.

    Args:
        num_queries: anchors A; with P patterns there are N = P·A queries.
        embed_dims: width D.
        query_dim: coordinates of an anchor, 4 or 2.
        num_patterns: P; 0: none.
        with_random_refpoints: start with centres uniform over the image; mmdet's way to keep them
            has no effect, here as there.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        num_queries: int = 300,
        embed_dims: int = 256,
        query_dim: int = 4,
        num_patterns: int = 0,
        with_random_refpoints: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        require(type(self).__name__, 'num_queries', num_queries, num_queries >= 1, 'at least 1')
        self.contract = Contract(query_kind='anchors', anchor_dims=query_dim, embed_dims=embed_dims)
        self.embed_dims = embed_dims
        self.with_random_refpoints = with_random_refpoints
        self.query_embedding = nn.Embedding(num_queries, query_dim)
        self.patterns = nn.Embedding(num_patterns, embed_dims) if num_patterns else None

    def init_weights(self) -> None:
        """Centres uniform over the image, where the config says so."""
        super().init_weights()
        if self.with_random_refpoints:
            anchors = self.query_embedding.weight.data
            anchors.uniform_(0, 1)
            anchors[:, :2] = inverse_sigmoid(anchors[:, :2], 1e-5)  # mmdet's clamp

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch: content (B, N, D) and anchors (B, N, query_dim) in 0..1."""
        batch = tokens.content.size(0)
        anchors = self.query_embedding.weight.float().sigmoid()
        content = tokens.content.new_zeros(len(anchors), self.embed_dims)
        if self.patterns is not None:
            content = self.patterns.weight.repeat_interleave(len(anchors), dim=0)
            anchors = anchors.repeat(len(self.patterns.weight), 1)
        return Queries(content.expand(batch, -1, -1), anchors.expand(batch, -1, -1))
