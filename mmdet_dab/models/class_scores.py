"""How logits tell the class of a query: each for itself (sigmoid), or all against one another (softmax).

The head chooses by its class loss, ``loss_cls.use_sigmoid``. Labels are 0..C − 1, and C for background.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class SigmoidScores:
    """A logit for each of C classes, as for the focal loss: background is where none of them is high.

    Args:
        num_classes: C.
    """

    kind = 'sigmoid'

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.num_logits = num_classes

    def loss(self, criterion: Callable[..., Tensor], logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (L, B, N, C) and labels (L, B, N) -> (L,), summed over pictures, queries and classes."""
        if getattr(criterion, 'sums_rows', False):
            return criterion(logits.flatten(1, 2), labels.flatten(1, 2))
        # A target as wide as the logits: then mmdet's focal loss needs no compiled mmcv on a GPU either.
        truth = logits.new_zeros(*labels.shape, self.num_classes + 1).scatter_(-1, labels[..., None], 1)[..., :-1]
        loss = criterion(logits.flatten(0, 2), truth.flatten(0, 2), reduction_override='none')
        return loss.view_as(logits).sum(dim=(1, 2, 3))

    def weight(self, num_objects: float, num_queries: int) -> float:
        """What the loss of a layer is divided by: the matched objects."""
        return num_objects

    def best(self, logits: Tensor, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and queries (B, K) of the best pairs of query and class: logits (B, N, C)."""
        scores, index = logits.sigmoid().flatten(1).topk(min(at_most, logits[0].numel()))
        return scores, index % self.num_classes, index // self.num_classes


class SoftmaxScores:
    """A logit for each of C classes and a last one for background, which all add up to probability 1 (DETR).

    Args:
        num_classes: C.
        background_weight: of the loss of a query that is background; those that have an object weigh 1.
    """

    kind = 'softmax'

    def __init__(self, num_classes: int, background_weight: float) -> None:
        self.num_classes = num_classes
        self.num_logits = num_classes + 1
        self.background_weight = background_weight

    def loss(self, criterion: Callable[..., Tensor], logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (L, B, N, C + 1) and labels (L, B, N) -> (L,), summed over pictures and queries by weight."""
        weight = torch.where(labels == self.num_classes, self.background_weight, 1.0)
        loss = criterion(logits.flatten(0, 2), labels.flatten(), weight.flatten(), reduction_override='none')
        return loss.view_as(labels).sum(dim=(1, 2))

    def weight(self, num_objects: float, num_queries: int) -> float:
        """What the loss of a layer is divided by: the weights of all queries, objects and background."""
        return num_objects + self.background_weight * (num_queries - num_objects)

    def best(self, logits: Tensor, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and queries (B, K) of the best queries, each with its best class: logits (B, N, C + 1)."""
        scores, labels = logits.softmax(-1)[..., :-1].max(-1)
        scores, queries = scores.topk(min(at_most, scores.size(1)))
        return scores, labels.gather(1, queries), queries
