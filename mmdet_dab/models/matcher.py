"""Set matching: which query answers for which object (DETR, section 3.1).

All layers and all pictures at once: the costs are computed in one go, brought to the CPU in one
transfer, and solved there by scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps, bbox_xyxy_to_cxcywh
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmdet_dab.registry import TASK_UTILS


class Targets(NamedTuple):
    """The objects of a batch, padded to the largest number M in a picture.

    Attributes:
        labels: (B, M) long; 0 where there is no object.
        boxes: (B, M, 4) cx cy w h in 0..1; the whole picture where there is no object.
        counts: objects in each picture.
    """

    labels: Tensor
    boxes: Tensor
    counts: list[int]


class Matches(NamedTuple):
    """Which query answers for which object; K pairs a layer, layer-major, L·K in all.

    Attributes:
        layer: (L·K,) index of the decoder layer.
        picture: (L·K,) index in the batch.
        query: (L·K,) index of the query.
        target: (L·K,) index of the object within its picture.
    """

    layer: Tensor
    picture: Tensor
    query: Tensor
    target: Tensor


class MatchCost(Protocol):
    """A term of the cost: (logits, boxes, targets) -> (L, B, N, M)."""

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """Cost of matching each query with each object."""


def pad_targets(labels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Targets:
    """Stack the objects of a batch.

    Args:
        labels: per picture (T,) long.
        boxes: per picture (T, 4) cx cy w h in 0..1.
    """
    counts = [len(label) for label in labels]
    most = max(counts, default=0)
    padded_labels = labels[0].new_zeros(len(labels), most)
    # A whole-picture box keeps the costs of the padding finite; nobody reads them.
    padded_boxes = boxes[0].new_tensor([0.5, 0.5, 1.0, 1.0]).repeat(len(boxes), most, 1)
    for row, (label, box) in enumerate(zip(labels, boxes, strict=True)):
        padded_labels[row, : len(label)] = label
        padded_boxes[row, : len(box)] = box
    return Targets(padded_labels, padded_boxes, counts)


def truth_of(data_samples: SampleList) -> Targets:
    """The objects of a batch, from ``gt_instances`` (boxes x1 y1 x2 y2 in pixels) and ``img_shape``."""
    labels, boxes = [], []
    for sample in data_samples:
        height, width = sample.img_shape[:2]
        truth = sample.gt_instances.bboxes
        truth = truth.tensor if hasattr(truth, 'tensor') else truth
        labels.append(sample.gt_instances.labels)
        boxes.append(bbox_xyxy_to_cxcywh(truth) / truth.new_tensor([width, height, width, height]))
    return pad_targets(labels, boxes)


@TASK_UTILS.register_module()
class FocalCost:
    """Focal loss of calling a query by the object's class, less that of calling it background.

    Args:
        weight: of this term (paper: 2).
        alpha: balance of positives.
        gamma: focus on hard examples.
        eps: inside the logarithms (released code: 1e-8).
    """

    def __init__(self, weight: float = 2.0, alpha: float = 0.25, gamma: float = 2.0, eps: float = 1e-8) -> None:
        self.contract = {'class_scores': 'sigmoid'}
        self.weight, self.alpha, self.gamma, self.eps = weight, alpha, gamma, eps

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, C) logits -> (L, B, N, M)."""
        layers, _, queries, _ = logits.shape
        index = targets.labels[None, :, None, :].expand(layers, -1, queries, -1)
        prob = logits.gather(-1, index).sigmoid()
        negative = -(1 - prob + self.eps).log() * (1 - self.alpha) * prob.pow(self.gamma)
        positive = -(prob + self.eps).log() * self.alpha * (1 - prob).pow(self.gamma)
        return (positive - negative) * self.weight


@TASK_UTILS.register_module()
class ClassificationCost:
    """Minus the probability of the object's class among all classes and background (DETR, section 3.1).

    Args:
        weight: of this term (DETR: 1).
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.contract = {'class_scores': 'softmax'}
        self.weight = weight

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, C + 1) logits -> (L, B, N, M)."""
        layers, _, queries, _ = logits.shape
        index = targets.labels[None, :, None, :].expand(layers, -1, queries, -1)
        return -logits.softmax(-1).gather(-1, index) * self.weight


@TASK_UTILS.register_module()
class BoxL1Cost:
    """L1 distance of (cx, cy, w, h) in 0..1.

    Args:
        weight: of this term (paper: 5).
    """

    def __init__(self, weight: float = 5.0) -> None:
        self.weight = weight

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, 4) boxes -> (L, B, N, M)."""
        return torch.cdist(boxes, targets.boxes.expand(len(boxes), -1, -1, -1), p=1) * self.weight


@TASK_UTILS.register_module()
class GIoUCost:
    """Negative generalised IoU (Rezatofighi et al., CVPR 2019).

    Args:
        weight: of this term (paper: 2).
    """

    def __init__(self, weight: float = 2.0) -> None:
        self.weight = weight

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, 4) boxes -> (L, B, N, M)."""
        truth = bbox_cxcywh_to_xyxy(targets.boxes).expand(len(boxes), -1, -1, -1)
        return -bbox_overlaps(bbox_cxcywh_to_xyxy(boxes), truth, mode='giou') * self.weight


@TASK_UTILS.register_module()
class HungarianMatcher:
    """The one-to-one matching of least total cost.

    Args:
        costs: configs of the terms, which are summed.
    """

    def __init__(self, costs: Sequence[dict]) -> None:
        if not costs:
            raise ValueError(f'{type(self).__name__}: costs is empty: name at least one term')
        self.costs: list[MatchCost] = [TASK_UTILS.build(cost) for cost in costs]
        self.parts = {f'costs.{index}': cost for index, cost in enumerate(self.costs)}

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Matches:
        """Match every layer and picture.

        Args:
            logits: (L, B, N, C) class logits, or (L, B, N, C + 1) with background last.
            boxes: (L, B, N, 4) cx cy w h in 0..1.
            targets: the objects of the batch.

        Returns:
            the pairs; a picture with T objects has min(N, T) in every layer.

        Raises:
            ValueError: when a cost is not finite, with the layer and the picture it comes from.
        """
        logits, boxes = logits.float(), boxes.float()
        if max(targets.counts) == 0:
            return Matches(*torch.zeros(4, 0, dtype=torch.long, device=boxes.device))
        cost = torch.stack([term(logits, boxes, targets) for term in self.costs]).sum(0).cpu()
        if not cost.isfinite().all():
            layer, picture = (~cost.isfinite()).nonzero()[0, :2].tolist()
            raise ValueError(
                f'The matching cost is not finite in decoder layer {layer}, picture {picture} of the batch: the '
                'training has diverged (lower the learning rate, or clip gradients) or a box of the truth is not finite'
            )
        pairs = [
            (layer, picture, query, target)
            for layer, layer_cost in enumerate(cost.numpy())
            for picture, count in enumerate(targets.counts)
            for query, target in zip(*linear_sum_assignment(layer_cost[picture, :, :count]), strict=True)
        ]
        return Matches(*torch.as_tensor(pairs, device=boxes.device).long().unbind(1))
