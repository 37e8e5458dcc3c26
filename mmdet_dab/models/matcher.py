"""Set matching: which query answers for which object (DETR, section 3.1).

All layers at once, and on a GPU all images: the costs are computed in one go, brought to the CPU in
one transfer, and solved there by scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh, get_box_tensor
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.registry import TASK_UTILS

#: Keeps ratios of areas finite, as in mmdet.
EPS = 1e-6


class Targets(NamedTuple):
    """The objects of a batch, padded to the largest number M in an image.

    Attributes:
        labels: (B, M) long; 0 where there is no object.
        boxes: (B, M, 4) cx cy w h in 0..1; the whole image where there is no object.
        counts: objects in each image.
    """

    labels: Tensor
    boxes: Tensor
    counts: list[int]


class Matches(NamedTuple):
    """Which query answers for which object; K pairs a layer, layer-major, L·K in all.

    Attributes:
        layer: (L·K,) index of the decoder layer.
        image: (L·K,) index in the batch.
        query: (L·K,) index of the query.
        target: (L·K,) index of the object within its image.
    """

    layer: Tensor
    image: Tensor
    query: Tensor
    target: Tensor


class CostNotFiniteError(ValueError):
    """A cost that cannot be matched.

    Args:
        row: of the L layers that the matcher was given.
        image: of the batch.
        groups: of queries, K. The matcher does not know of them: it is given L·K rows as its
            layers.
    """

    def __init__(self, row: int, image: int, groups: int = 1) -> None:
        self.row, self.image = row, image
        layer, group = divmod(row, groups)
        where = f'decoder layer {layer}' + (f', group {group} of its queries' if groups > 1 else '')
        super().__init__(
            f'The matching cost is not finite in {where}, image {image} of the batch: the training has diverged '
            '(lower the learning rate, or clip gradients), or a box of the ground truth is not finite'
        )


def pad_targets(labels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Targets:
    """Stack the objects of a batch.

    Args:
        labels: per image (T,) long.
        boxes: per image (T, 4) cx cy w h in 0..1.
    """
    counts = [len(label) for label in labels]
    most = max(counts, default=0)
    padded_labels = labels[0].new_zeros(len(labels), most)
    # A whole-image box keeps the costs of the padding finite; nobody reads them.
    padded_boxes = boxes[0].new_tensor([0.5, 0.5, 1.0, 1.0]).repeat(len(boxes), most, 1)
    for row, (label, box) in enumerate(zip(labels, boxes, strict=True)):
        padded_labels[row, : len(label)] = label
        padded_boxes[row, : len(box)] = box
    return Targets(padded_labels, padded_boxes, counts)


def in_parts_of_image(boxes: Tensor, img_shape: Sequence[int]) -> Tensor:
    """(N, 4) x1 y1 x2 y2 in pixels -> cx cy w h in 0..1, of an image of ``img_shape`` (h, w)."""
    height, width = img_shape[:2]
    return bbox_xyxy_to_cxcywh(boxes) / boxes.new_tensor([width, height, width, height])


def ground_truth_of(data_samples: SampleList) -> Targets:
    """The objects of a batch, from ``gt_instances`` (boxes x1 y1 x2 y2 in pixels) and
    ``img_shape``."""
    labels = [sample.gt_instances.labels for sample in data_samples]
    boxes = [get_box_tensor(sample.gt_instances.bboxes) for sample in data_samples]
    # One transfer for the sizes of all images, not one for each.
    shapes = [sample.img_shape[:2] for sample in data_samples]
    sizes = boxes[0].new_tensor([(width, height, width, height) for height, width in shapes])
    parts = [bbox_xyxy_to_cxcywh(box) / size for box, size in zip(boxes, sizes, strict=True)]
    return pad_targets(labels, parts)


def on_cpu(tensor: Tensor) -> bool:
    """Whether a tensor can be read without a transfer."""
    return tensor.device.type == 'cpu'


# Costs are computed object by object, (L, B, M, N): a row of N queries is long, and scipy wants it
# that way, too.


def of_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """The scores of the objects' classes: (L, B, N, C) and (B, M) long -> (L, B, M, N)."""
    image = torch.arange(len(labels), device=labels.device)[:, None]
    return scores.mT[:, image, labels]


def by_coordinate(boxes: Tensor) -> tuple[Tensor, ...]:
    """(L, B, N, 4) -> four of (L, B, 1, N)."""
    return boxes.mT.contiguous()[..., None, :].unbind(-3)


@TASK_UTILS.register_module()
class FocalCost(nn.Module):
    """Focal loss of calling a query by the object's class, less that of calling it background.

    Args:
        weight: of this term (paper: 2).
        alpha: balance of positives.
        gamma: focus on hard examples.
        eps: inside the logarithms (released code: 1e-8).
    """

    contract = Contract(class_scores='sigmoid')

    def __init__(self, weight: float = 2.0, alpha: float = 0.25, gamma: float = 2.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.weight, self.alpha, self.gamma, self.eps = weight, alpha, gamma, eps

    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, C) logits -> (L, B, N, M)."""
        prob = of_labels(logits, targets.labels).sigmoid_()
        rest = 1 - prob
        positive, negative = (prob + self.eps).log_(), (rest + self.eps).log_()
        cost = negative.mul_(prob.pow_(self.gamma)).mul_(self.weight * (1 - self.alpha))
        return cost.addcmul_(positive, rest.pow_(self.gamma), value=-self.weight * self.alpha).mT


@TASK_UTILS.register_module()
class ClassificationCost(nn.Module):
    """Minus the probability of the object's class among all classes and background (DETR, section
    3.1).

    Args:
        weight: of this term (DETR: 1).
    """

    contract = Contract(class_scores='softmax')

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, C + 1) logits -> (L, B, N, M)."""
        return of_labels(logits.softmax(-1), targets.labels).mul_(-self.weight).mT


@TASK_UTILS.register_module()
class BoxL1Cost(nn.Module):
    """L1 distance of (cx, cy, w, h) in 0..1.

    Args:
        weight: of this term (paper: 5).
    """

    def __init__(self, weight: float = 5.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, 4) boxes -> (L, B, N, M)."""
        pairs = zip(by_coordinate(boxes), targets.boxes.unbind(-1), strict=True)
        first, *others = ((of_query - of_object[..., None]).abs_() for of_query, of_object in pairs)
        for other in others:
            first += other
        return first.mul_(self.weight).mT


@TASK_UTILS.register_module()
class GIoUCost(nn.Module):
    """Negative generalised IoU (Rezatofighi et al., CVPR 2019).

    Args:
        weight: of this term (paper: 2).
    """

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """(L, B, N, 4) boxes -> (L, B, N, M)."""
        x, y, w, h = by_coordinate(boxes)  # (L, B, 1, N)
        true_x, true_y, true_w, true_h = targets.boxes[..., None].unbind(-2)  # (B, M, 1)
        overlaps, hulls = [], []
        for centre, size, true_centre, true_size in ((x, w, true_x, true_w), (y, h, true_y, true_h)):
            end = torch.minimum(centre + size / 2, true_centre + true_size / 2)
            overlap = end.sub_(torch.maximum(centre - size / 2, true_centre - true_size / 2))
            # What both cover from end to end is their lengths less the overlap, or plus the gap
            # between them.
            hulls.append((size + true_size).sub_(overlap))
            overlaps.append(overlap.clamp_(min=0))
        inside, hull = overlaps[0].mul_(overlaps[1]), hulls[0].mul_(hulls[1]).clamp_(min=EPS)
        union = (w * h + true_w * true_h).sub_(inside).clamp_(min=EPS)
        # GIoU = inside / union − (hull − union) / hull; boxes without area have none.
        cost = inside.div_(union).mul_(-self.weight).add_(self.weight)
        return cost.addcdiv_(union, hull, value=-self.weight).mT


@TASK_UTILS.register_module()
class HungarianMatcher(nn.Module):
    """The one-to-one matching of least total cost.

    Args:
        costs: configs of the terms, which are summed.
    """

    def __init__(self, costs: Sequence[dict]) -> None:
        if not costs:
            raise ValueError(f'{type(self).__name__}: costs is empty: name at least one term')
        super().__init__()
        terms = [TASK_UTILS.build(cost) for cost in costs]
        for index, (term, cost) in enumerate(zip(terms, costs, strict=True)):
            what = f'{type(term).__module__}.{type(term).__name__} (type={cost["type"]!r})'
            wanted = "a torch Module that costs a whole batch; mmdet's costs take one image"
            require(type(self).__name__, f'costs.{index}', what, isinstance(term, nn.Module), wanted)
        # Modules without parameters, so that they are seen where the parts of a model are listed.
        self.costs = nn.ModuleList(terms)

    @torch.no_grad()
    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Matches:
        """Match every layer and image.

        Args:
            logits: (L, B, N, C) class logits, or (L, B, N, C + 1) with background last.
            boxes: (L, B, N, 4) cx cy w h in 0..1.
            targets: the objects of the batch.

        Returns:
            the pairs; an image with T objects has min(N, T) in every layer.

        Raises:
            CostNotFiniteError: with the layer and the image it comes from.
        """
        logits, boxes = logits.float(), boxes.float()
        if max(targets.counts) == 0:
            return Matches(*torch.zeros(4, 0, dtype=torch.long, device=boxes.device))
        costs = self._costs(logits, boxes, targets)
        for image, cost in enumerate(costs):
            if np.isfinite(cost.sum()):
                continue
            raise CostNotFiniteError(int(np.argwhere(~np.isfinite(cost))[0, 0]), image)
        pairs = []
        for layer in range(len(logits)):
            for image, cost in enumerate(costs):
                target, query = linear_sum_assignment(cost[layer].T)
                pairs.append(np.stack((np.full_like(query, layer), np.full_like(query, image), query, target)))
        return Matches(*torch.from_numpy(np.concatenate(pairs, axis=1)).to(boxes.device).unbind())

    def _costs(self, logits: Tensor, boxes: Tensor, targets: Targets) -> list[np.ndarray]:
        """The cost of every image, (L, N, T) with its T objects, on the CPU.

        A GPU computes all images in one go, with one transfer. A CPU takes them one by one, which
        spares the padding and fits its caches.
        """
        if not on_cpu(boxes):
            cost = self._cost(logits, boxes, targets).cpu().numpy()
            return [cost[:, image, :, :count] for image, count in enumerate(targets.counts)]
        costs = []
        for image, count in enumerate(targets.counts):
            one = slice(image, image + 1)
            alone = Targets(targets.labels[one, :count], targets.boxes[one, :count], [count])
            costs.append(self._cost(logits[:, one], boxes[:, one], alone)[:, 0].numpy())
        return costs

    def _cost(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """The sum of the terms, (L, B, N, M)."""
        first, *others = (term(logits, boxes, targets) for term in self.costs)
        for other in others:
            first = first + other
        return first
