"""How logits tell the class of a query: each for itself (sigmoid), or all against one another
(softmax).

Labels are 0..C − 1, and C for background.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.registry import MODELS


@runtime_checkable
class RowSums(Protocol):
    """A class loss that takes labels and sums by itself, which spares a matrix of targets."""

    def row_sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (L, N, C) and labels (L, N) -> (L,), summed over queries and classes."""


class ClassScores(nn.Module):
    """What logits mean.

    Attributes:
        kind: ``'sigmoid'`` or ``'softmax'``.
        num_logits: logits of a query.
        initial_bias: of the class branch, or None to leave it as it is.
    """

    kind: Literal['sigmoid', 'softmax']
    num_logits: int
    initial_bias: float | None = None

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        require(type(self).__name__, 'num_classes', num_classes, num_classes >= 1, 'at least 1')
        self.num_classes = num_classes
        self.contract = Contract(class_scores=self.kind, num_classes=num_classes)

    def loss(self, criterion: nn.Module, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Logits (L, B, N, num_logits) and labels (L, B, N) -> (L,), summed over images and
        queries."""
        raise NotImplementedError

    def weight(self, num_objects: float, num_queries: int) -> float:
        """What the loss of a layer is divided by."""
        raise NotImplementedError

    def best(self, logits: Tensor, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best predictions of logits (B, N, num_logits): scores, labels and queries (B, K)."""
        raise NotImplementedError


@MODELS.register_module()
class SigmoidScores(ClassScores):
    """A logit for each of C classes, as for the focal loss: background is where none of them is
    high.

    The loss is summed and divided by the objects. The best are pairs of query and class.

    Args:
        num_classes: C.
        prior: class probability at the start (focal loss).
    """

    kind = 'sigmoid'

    def __init__(self, num_classes: int, prior: float = 0.01) -> None:
        super().__init__(num_classes)
        require(type(self).__name__, 'prior', prior, 0 < prior < 1, 'between 0 and 1')
        self.num_logits = num_classes
        self.initial_bias = -math.log((1 - prior) / prior)

    def loss(self, criterion: nn.Module, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Logits (L, B, N, C) and labels (L, B, N) -> (L,), summed over images, queries and
        classes.

        ``quality`` (L, B, N), the IoU of matched boxes, is for a criterion that takes it.
        """
        if quality is not None:
            return criterion(logits.flatten(1, 2), labels.flatten(1, 2), quality.flatten(1, 2))
        if isinstance(criterion, RowSums):
            return criterion.row_sums(logits.flatten(1, 2), labels.flatten(1, 2))
        # A target as wide as the logits: then mmdet's focal loss needs no compiled mmcv on a GPU.
        targets = logits.new_zeros(*labels.shape, self.num_classes + 1).scatter_(-1, labels[..., None], 1)[..., :-1]
        loss = criterion(logits.flatten(0, 2), targets.flatten(0, 2), reduction_override='none')
        return loss.view_as(logits).sum(dim=(1, 2, 3))

    def weight(self, num_objects: float, num_queries: int) -> float:
        """The matched objects."""
        return num_objects

    def best(self, logits: Tensor, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and queries (B, K) of the best pairs of query and class: logits (B, N,
        C)."""
        scores, index = logits.sigmoid().flatten(1).topk(min(at_most, logits[0].numel()))
        return scores, index % self.num_classes, index // self.num_classes


@MODELS.register_module()
class SoftmaxScores(ClassScores):
    """A logit for each of C classes and a last one for background, which add up to probability 1
    (DETR).

    The loss is the mean over queries by weight. The best are queries, each with its best class.

    Args:
        num_classes: C.
        background_weight: of the loss of a query that is background; one with an object weighs 1.
    """

    kind = 'softmax'

    def __init__(self, num_classes: int, background_weight: float = 0.1) -> None:
        super().__init__(num_classes)
        name = type(self).__name__
        require(name, 'background_weight', background_weight, background_weight > 0, 'positive')
        self.num_logits = num_classes + 1
        self.background_weight = background_weight

    def loss(self, criterion: nn.Module, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Logits (L, B, N, C + 1) and labels (L, B, N) -> (L,), summed over images and queries by
        weight."""
        weight = torch.where(labels == self.num_classes, self.background_weight, 1.0)
        loss = criterion(logits.flatten(0, 2), labels.flatten(), weight.flatten(), reduction_override='none')
        return loss.view_as(labels).sum(dim=(1, 2))

    def weight(self, num_objects: float, num_queries: int) -> float:
        """The weights of all queries, objects and background."""
        return num_objects + self.background_weight * (num_queries - num_objects)

    def best(self, logits: Tensor, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and queries (B, K) of the best queries: logits (B, N, C + 1)."""
        scores, labels = logits.softmax(-1)[..., :-1].max(-1)
        scores, queries = scores.topk(min(at_most, scores.size(1)))
        return scores, labels.gather(1, queries), queries
