"""Classes and boxes, their losses, and predictions. What logits mean is in ``class_scores.py``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, scale_boxes
from mmdet.utils import InstanceList, reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_dab.models.class_scores import SigmoidScores, SoftmaxScores
from mmdet_dab.models.contracts import require
from mmdet_dab.models.layers import MLP, inverse_sigmoid
from mmdet_dab.models.matcher import Matches, Targets, truth_of
from mmdet_dab.models.structures import DecoderOutput, Denoising
from mmdet_dab.registry import MODELS, TASK_UTILS


def branches(branch: nn.Module, num_layers: int | None) -> nn.ModuleList:
    """One branch for all layers (None), or an equal copy for each."""
    return nn.ModuleList([branch] + [deepcopy(branch) for _ in range((num_layers or 1) - 1)])


def apply_branches(branches: Iterable, states: Tensor, layers: Sequence[int]) -> Tensor:
    """The branch of every layer, or the one that all layers share, on the states (L, B, N, D) of ``layers``."""
    choices = list(branches)
    if len(choices) == 1:
        return choices[0](states)
    return torch.stack([choices[layer](state) for layer, state in zip(layers, states, strict=True)])


def class_scores(
    part: str, loss: nn.Module, num_classes: int, background_weight: float | None
) -> SigmoidScores | SoftmaxScores:
    """What the class loss wants logits to be.

    Raises:
        ValueError: the weight of background is missing, or there is no background.
    """
    sigmoid = getattr(loss, 'use_sigmoid', False)
    if sigmoid != (background_weight is None):
        raise ValueError(
            f'{part}: background_weight={background_weight!r} with use_sigmoid={sigmoid} in loss_cls: background has a '
            'logit, and needs a weight (DETR: 0.1), without sigmoid; with use_sigmoid=True it has none'
        )
    if background_weight is None:
        return SigmoidScores(num_classes)
    require(part, 'background_weight', background_weight, background_weight > 0, 'positive')
    return SoftmaxScores(num_classes, background_weight)


@MODELS.register_module()
class SetPredictionHead(BaseModule):
    """A class and a box for every query of every layer, learned by set matching.

    Boxes are offsets from the decoder's references: σ(σ⁻¹(reference) + MLP_box(state)). Coordinates that a reference
    lacks are σ(MLP_box(state)): w and h of a point, all four of queries without anchors (DETR).

    Args:
        num_classes: C, without background.
        loss_cls: config of a class loss of mmdet. With ``use_sigmoid=True`` (focal) there is a logit per class, and
            the loss is summed and divided by the objects; with False (cross entropy) there is one more for
            background, and it is the mean over queries by weight (DETR).
        loss_bbox: config of a box loss on (cx, cy, w, h) in 0..1.
        loss_iou: config of a box loss on (x1, y1, x2, y2) in 0..1.
        matcher: config of the matcher.
        embed_dims: width D.
        box_branch_per_layer: decoder layers L, for a box MLP per layer (paper, appendix; Deformable
            DETR); None shares one.
        class_branch_per_layer: decoder layers L, for a class branch per layer (Deformable DETR); None shares one.
        start_at_references: boxes start as the references; False starts with the random boxes of an untrained
            MLP, without which queries that have no anchors would all start with the same box (DETR).
        initial_size_bias: what the first box branch adds to w and h before the sigmoid at the start; 0 keeps
            the anchors, -2 makes them smaller (Deformable DETR).
        background_weight: of background in a loss without sigmoid, which needs it (DETR: 0.1); None with sigmoid.
        prior: class probability at the start, with sigmoid (focal loss).
        eps: clamp of σ⁻¹ (released code: 1e-3).
        max_per_img: predictions kept per picture: the best of all queries and classes; without sigmoid the best
            queries, each with its best class.
        clip_boxes: cut predictions at the picture's border, as mmdet does; the released code does not.
        duplicates: config of what lowers the scores of predictions that repeat better ones (``duplicates.py``); None,
            as DETRs are meant, leaves them.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        num_classes: int,
        loss_cls: dict,
        loss_bbox: dict,
        loss_iou: dict,
        matcher: dict,
        embed_dims: int = 256,
        box_branch_per_layer: int | None = None,
        class_branch_per_layer: int | None = None,
        start_at_references: bool = True,
        initial_size_bias: float = 0.0,
        background_weight: float | None = None,
        prior: float = 0.01,
        eps: float = 1e-3,
        max_per_img: int = 300,
        clip_boxes: bool = True,
        duplicates: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.contract: dict[str, Any] = {'embed_dims': embed_dims, 'num_classes': num_classes}
        per_layer = {num for num in (box_branch_per_layer, class_branch_per_layer) if num is not None}
        if len(per_layer) > 1:
            raise ValueError(
                f'{type(self).__name__}: box_branch_per_layer={box_branch_per_layer} and '
                f'class_branch_per_layer={class_branch_per_layer}: both are the number of decoder layers, or None'
            )
        if per_layer:
            self.contract['decoder_layers'] = per_layer.pop()
        name = type(self).__name__
        require(name, 'num_classes', num_classes, num_classes >= 1, 'at least 1')
        require(name, 'max_per_img', max_per_img, max_per_img >= 1, 'at least 1')
        require(name, 'prior', prior, 0 < prior < 1, 'between 0 and 1')
        require(name, 'eps', eps, 0 < eps < 0.5, 'between 0 and 0.5')
        fits = start_at_references or not initial_size_bias
        require(name, 'initial_size_bias', initial_size_bias, fits, '0 where boxes do not start at references')
        self.num_classes = num_classes
        self.prior = prior
        self.start_at_references = start_at_references
        self.initial_size_bias = initial_size_bias
        self.eps = eps
        self.max_per_img = max_per_img
        self.clip_boxes = clip_boxes
        self.duplicates = None if duplicates is None else TASK_UTILS.build(duplicates)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_iou = MODELS.build(loss_iou)
        self.matcher = TASK_UTILS.build(matcher)
        self.parts = {'matcher': self.matcher}
        self.class_scores = class_scores(name, self.loss_cls, num_classes, background_weight)
        self.contract['class_scores'] = self.class_scores.kind
        class_branch = nn.Linear(embed_dims, self.class_scores.num_logits)
        shared = class_branch_per_layer is None
        self.class_branch = class_branch if shared else None
        self.class_branches = None if shared else branches(class_branch, class_branch_per_layer)
        self.box_branches = branches(MLP(embed_dims, embed_dims, 4, 3), box_branch_per_layer)

    @property
    def class_tensors(self) -> list[str]:
        """Names of the parameters with a row for every class; fine-tuning on other classes selects their rows."""
        return [name for name, _ in self.named_parameters() if name.startswith('class_branch')]

    def init_weights(self) -> None:
        """Class bias at the prior; boxes start as the references, but for ``initial_size_bias``."""
        if self.class_scores.kind == 'sigmoid':
            for linear in self.class_branches or [self.class_branch]:
                nn.init.constant_(cast(nn.Linear, linear).bias, -math.log((1 - self.prior) / self.prior))
        if self.start_at_references:
            for branch in self.box_branches:
                last = cast(MLP, branch).layers[-1]
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
            nn.init.constant_(cast(MLP, self.box_branches[0]).layers[-1].bias[2:], self.initial_size_bias)
        super().init_weights()

    def box_offset(self, content: Tensor, layer: int) -> Tensor:
        """ΔA = MLP_box(content) of one layer: (B, N, D) -> (B, N, 4). The decoder moves its anchors by it."""
        return self.box_branches[layer if len(self.box_branches) > 1 else 0](content)

    def forward(self, output: DecoderOutput, layers: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Predict for every query but denoising ones.

        Args:
            output: of the decoder.
            layers: which layers; all of them by default.

        Returns:
            logits (L, B, N, C), or (L, B, N, C + 1) with background last, and boxes (L, B, N, 4) cx cy w h in 0..1.
        """
        known = output.queries.denoising
        matching = slice(None if known is None else known.num_matching)
        indices = range(len(output.states))[layers]
        return self._answers(output.states[layers, :, matching], output.references[layers, :, matching], indices)

    def _answers(self, states: Tensor, references: Tensor, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the states (L, B, N, D) of the layers ``indices``, measured from ``references``."""
        logits = apply_branches(self.class_branches or [self.class_branch], states, indices)
        offsets = apply_branches(self.box_branches, states, indices)
        # Of 2-D anchors only x and y are measured from the reference, without anchors nothing is.
        free = offsets[..., references.size(-1) :]
        placed = offsets[..., : references.size(-1)] + inverse_sigmoid(references.float(), self.eps)
        return logits, torch.cat((placed, free.float()), dim=-1).sigmoid()

    def loss(self, output: DecoderOutput, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of all layers, named as in mmdet: ``loss_cls`` of the last, ``d0.loss_cls`` … before it.

        Args:
            output: of the decoder.
            data_samples: with ``gt_instances`` (boxes x1 y1 x2 y2 in pixels) and ``img_shape``.
        """
        logits, boxes = self(output)
        logits = logits.float()
        targets = truth_of(data_samples)
        terms = self._terms(logits, boxes, targets, self.matcher(logits, boxes, targets))
        if output.queries.denoising is not None:
            denoised = self._denoising_terms(output, output.queries.denoising)
            terms |= {f'dn_{name}': term for name, term in denoised.items()}
        last = len(logits) - 1
        return {
            name if layer == last else f'd{layer}.{name}': term[layer]
            for layer in (last, *range(last))
            for name, term in terms.items()
        }

    def _terms(self, logits: Tensor, boxes: Tensor, targets: Targets, matches: Matches) -> dict[str, Tensor]:
        """(L,) each: summed over queries, divided by the matched objects."""
        # Mean over processes, so that their averaged gradient is that of one process with the whole batch.
        matched = len(matches.layer) / len(logits)
        weight = self.class_scores.weight(matched, logits[0, ..., 0].numel())
        class_total, num_objects = reduce_mean(boxes.new_tensor([weight, matched])).clamp(min=1)
        terms = {name: term / num_objects for name, term in self._box_losses(boxes, targets, matches).items()}
        return {'loss_cls': self._class_loss(logits, targets, matches) / class_total} | terms

    def _denoising_terms(self, output: DecoderOutput, known: Denoising) -> dict[str, Tensor]:
        """(L,) each: the terms of the denoising queries, which need no matching (DN-DETR, "Denoising").

        The K of the batch are taken as one picture, in which query k answers for object k.
        """
        layers, num_known = len(output.states), len(known.query)
        chosen = (slice(None), known.picture, known.query)  # (L, B, N, D) -> (L, K, D)
        states, references = output.states[chosen][:, None], output.references[chosen][:, None]
        logits, boxes = self._answers(states, references, range(layers))
        layer = torch.arange(layers, device=boxes.device).repeat_interleave(num_known)
        number = torch.arange(num_known, device=boxes.device).repeat(layers)
        targets = Targets(known.labels[None], known.boxes[None], [num_known])
        return self._terms(logits.float(), boxes, targets, Matches(layer, torch.zeros_like(layer), number, number))

    def _class_loss(self, logits: Tensor, targets: Targets, matches: Matches) -> Tensor:
        """(L,): summed over pictures and queries."""
        labels = torch.full(logits.shape[:3], self.num_classes, device=logits.device)
        labels[matches.layer, matches.picture, matches.query] = targets.labels[matches.picture, matches.target]
        return self.class_scores.loss(self.loss_cls, logits, labels)

    def _box_losses(self, boxes: Tensor, targets: Targets, matches: Matches) -> dict[str, Tensor]:
        """(L,) each: summed over the matched pairs; zero, with gradient, where there are none."""
        found = boxes[matches.layer, matches.picture, matches.query]
        truth = targets.boxes[matches.picture, matches.target]
        l1 = self.loss_bbox(found, truth, reduction_override='none')
        iou = self.loss_iou(bbox_cxcywh_to_xyxy(found), bbox_cxcywh_to_xyxy(truth), reduction_override='none')
        per_layer = (len(boxes), -1)
        if not len(found):
            nothing = boxes.sum(dim=(1, 2, 3)) * 0
            return {'loss_bbox': nothing, 'loss_iou': nothing}
        return {'loss_bbox': l1.view(*per_layer).sum(1), 'loss_iou': iou.view(*per_layer).sum(1)}

    def predict(self, output: DecoderOutput, data_samples: SampleList, rescale: bool = True) -> InstanceList:
        """The best predictions of the last layer.

        Args:
            output: of the decoder.
            data_samples: with ``img_shape`` and, if it was resized, ``scale_factor``.
            rescale: give boxes in pixels of the picture as it was loaded, not as it was resized.

        Returns:
            per picture InstanceData with ``scores``, ``labels`` and ``bboxes`` (x1 y1 x2 y2 in
            pixels), best first.
        """
        (logits,), (boxes,) = self(output, slice(-1, None))
        scores, labels, queries = self.class_scores.best(logits.float(), self.max_per_img)
        boxes = bbox_cxcywh_to_xyxy(boxes).gather(1, queries[..., None].expand(-1, -1, 4))
        if self.clip_boxes:
            boxes = boxes.clamp(0, 1)
        if self.duplicates is not None:
            scores, order = self.duplicates(scores, labels, boxes).sort(descending=True, stable=True)
            labels, boxes = labels.gather(1, order), boxes.gather(1, order[..., None].expand(-1, -1, 4))
        results = []
        for sample, score, label, box in zip(data_samples, scores, labels, boxes, strict=True):
            height, width = sample.img_shape[:2]
            box = box * box.new_tensor([width, height, width, height])
            if rescale:
                # Without a Resize in the pipeline there is no factor.
                box = scale_boxes(box, tuple(1 / factor for factor in sample.metainfo.get('scale_factor', (1, 1))))
            results.append(InstanceData(scores=score, labels=label, bboxes=box))
        return results
