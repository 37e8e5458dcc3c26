"""Parts that only isolate a cause in a study; nobody should train with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmdet_dab.models import AnchorQueryGenerator, SetPredictionHead, UniformAnchors
from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.models.structures import ImageTokens, Queries
from mmdet_dab.registry import MODELS, TASK_UTILS


@TASK_UTILS.register_module()
class NormalCentres(UniformAnchors):
    """Centres N(0, 1) before the sigmoid, as released, but sizes as in the base."""

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits."""
        return torch.cat((torch.randn(num_queries, 2), super().__call__(num_queries)[:, 2:]), dim=1)


@MODELS.register_module()
class CentresOnlyHead(SetPredictionHead):
    """Measures boxes from the centres of 4-D anchors alone, as if they were points: w and h are the
    box branch's own."""

    def _answers(self, states: Tensor, references: Tensor, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return super()._answers(states, references[..., :2], indices)


@MODELS.register_module()
class ToldQueryGenerator(AnchorQueryGenerator):
    """Content starts as a linear function of the anchor, σ⁻¹ of which the box branch starts from:
    so it can tell one anchor's size from another's, and cancel it.

    Args:
        embed_dims: width D of the content.
        settings: see the base.
    """

    def __init__(self, embed_dims: int = 256, **settings: Any) -> None:
        super().__init__(embed_dims=embed_dims, **settings)
        self.told = nn.Linear(self.contract.anchor_dims or 4, embed_dims)

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Content (B, N, D) that knows its anchors (B, N, 4)."""
        queries = super().forward(tokens, data_samples)
        told = self.told(inverse_sigmoid(queries.required('anchors', self)))
        return replace(queries, content=queries.content + told)
