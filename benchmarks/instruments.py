"""Parts that only isolate a cause in a study; nobody should train with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_dab.models import SetPredictionHead, UniformAnchors
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
