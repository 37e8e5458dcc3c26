"""Classes and boxes, their losses, and predictions. What logits mean is in ``class_scores.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Literal, cast

import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps, scale_boxes
from mmdet.utils import InstanceList, reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import MLP, inverse_sigmoid
from mmdet_dab.models.matcher import CostNotFiniteError, Matches, Targets, ground_truth_of
from mmdet_dab.models.structures import DecoderOutput, Denoising, Proposals
from mmdet_dab.registry import MODELS, TASK_UTILS


def branches(branch: nn.Module, number: int) -> nn.ModuleList:
    """One branch for all layers, or an equal copy for each."""
    return nn.ModuleList([branch] + [deepcopy(branch) for _ in range(number - 1)])


def apply_branches(branches: Iterable, states: Tensor, layers: Sequence[int]) -> Tensor:
    """The branch of every layer, or the one that all layers share, on the states (L, B, N, D) of
    ``layers``."""
    choices = list(branches)
    if len(choices) == 1:
        return choices[0](states)
    return torch.stack([choices[layer](state) for layer, state in zip(layers, states, strict=True)])


def grouped(predictions: Tensor, groups: int) -> Tensor:
    """(L, B, K·N, X), group by group -> (L·K, B, N, X)."""
    return predictions.unflatten(2, (groups, -1)).transpose(1, 2).flatten(0, 1)


@MODELS.register_module()
class SetPredictionHead(BaseModule):
    """A class and a box for every query of every layer, learned by set matching.

    Boxes are offsets from the decoder's references: σ(σ⁻¹(reference) + MLP_box(state)). Coordinates
    that a reference lacks are σ(MLP_box(state)): w and h of a point, all four of queries without
    anchors (DETR).

    Args:
        num_classes: C, without background.
        loss_cls: config of a class loss, of ours or of mmdet.
        loss_bbox: config of a box loss on (cx, cy, w, h) in 0..1.
        loss_iou: config of a box loss on (x1, y1, x2, y2) in 0..1.
        matcher: config of the matcher.
        class_scores: config of what logits mean (``class_scores.py``).
        selection: config of what chooses among the predictions (``selection.py``).
        per_layer: which branches are not shared by the decoder layers, of ``'class'`` and ``'box'``
            (paper, appendix; both in Deformable DETR).
        num_layers: decoder layers L, for ``per_layer``.
        embed_dims: width D.
        eps: clamp of σ⁻¹ (released code: 1e-3).
        init_cfg: see mmengine's BaseModule; ``BoxesAtReferences`` makes boxes start as the anchors.
    """

    def __init__(
        self,
        num_classes: int,
        loss_cls: dict,
        loss_bbox: dict,
        loss_iou: dict,
        matcher: dict,
        class_scores: dict,
        selection: dict,
        per_layer: Sequence[Literal['class', 'box']] = (),
        num_layers: int = 6,
        embed_dims: int = 256,
        eps: float = 1e-3,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        require(name, 'eps', eps, 0 < eps < 0.5, 'between 0 and 0.5')
        require(name, 'per_layer', per_layer, set(per_layer) <= {'class', 'box'}, "of 'class' and 'box'")
        self.num_classes = num_classes
        self.eps = eps
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_iou = MODELS.build(loss_iou)
        self.class_scores = MODELS.build(dict(dict(num_classes=num_classes), **class_scores))
        self.matcher = TASK_UTILS.build(matcher)
        self.check_loss()
        self.selection = MODELS.build(selection)
        class_branch = nn.Linear(embed_dims, self.class_scores.num_logits)
        shared = 'class' not in per_layer
        self.class_branch = class_branch if shared else None
        self.class_branches = None if shared else branches(class_branch, num_layers)
        self.box_branches = branches(MLP(embed_dims, embed_dims, 4, 3), num_layers if 'box' in per_layer else 1)
        self.contract = Contract(
            embed_dims=embed_dims,
            num_classes=num_classes,
            num_layers=num_layers if per_layer else None,
            class_tensors=tuple(key for key, _ in self.named_parameters() if key.startswith('class_branch')),
        )

    def check_loss(self) -> None:
        """Refuse a class loss that takes logits for something else than ``class_scores`` does.

        Raises:
            ValueError: names both and the fix.
        """
        sigmoid = getattr(self.loss_cls, 'use_sigmoid', False)
        if sigmoid != (self.class_scores.kind == 'sigmoid'):
            raise ValueError(
                f'{type(self).__name__}: loss_cls ({type(self.loss_cls).__name__}) has use_sigmoid={sigmoid}, but '
                f'class_scores is {type(self.class_scores).__name__}: take SigmoidScores with use_sigmoid=True, '
                'SoftmaxScores without'
            )

    def init_weights(self) -> None:
        """Class bias at the prior; after that ``init_cfg`` has its say."""
        if self.class_scores.initial_bias is not None:
            for linear in self.class_branches or [self.class_branch]:
                nn.init.constant_(cast(nn.Linear, linear).bias, self.class_scores.initial_bias)
        super().init_weights()

    def box_offset(self, content: Tensor, layer: int) -> Tensor:
        """ΔA = MLP_box(content) of one layer: (B, N, D) -> (B, N, 4). The decoder moves its anchors
        by it."""
        return self.box_branches[layer if len(self.box_branches) > 1 else 0](content)

    def forward(self, output: DecoderOutput, layers: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Predict for every query but denoising ones.

        Args:
            output: of the decoder.
            layers: which layers; all of them by default.

        Returns:
            logits (L, B, N, C), or (L, B, N, C + 1) with background last, and boxes (L, B, N, 4) cx
            cy w h in 0..1.
        """
        known = output.queries.denoising
        matching = slice(None if known is None else known.num_matching)
        indices = range(len(output.states))[layers]
        return self._answers(output.states[layers, :, matching], output.references[layers, :, matching], indices)

    def _answers(self, states: Tensor, references: Tensor, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the states (L, B, N, D) of the layers ``indices``, measured from
        ``references``."""
        logits = apply_branches(self.class_branches or [self.class_branch], states, indices)
        offsets = apply_branches(self.box_branches, states, indices)
        # Of 2-D anchors only x and y are measured from the reference, without anchors nothing is.
        free = offsets[..., references.size(-1) :]
        placed = offsets[..., : references.size(-1)] + inverse_sigmoid(references.float(), self.eps)
        return logits, torch.cat((placed, free.float()), dim=-1).sigmoid()

    def loss(self, output: DecoderOutput, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of all layers, named as in mmdet: ``loss_cls`` of the last, ``d0.loss_cls`` …
        before it, ``enc_loss_cls`` of the cells that anchors were chosen from.

        Args:
            output: of the decoder.
            data_samples: with ``gt_instances`` (boxes x1 y1 x2 y2 in pixels) and ``img_shape``.
        """
        logits, boxes = self(output)
        last, groups = len(logits) - 1, output.queries.groups
        # Groups of queries are matched each by itself, as the layers are: L·K in the place of L.
        logits, boxes = grouped(logits.float(), groups), grouped(boxes, groups)
        targets = ground_truth_of(data_samples)
        try:
            matches = self.matcher(logits, boxes, targets)
        except CostNotFiniteError as error:
            raise CostNotFiniteError(error.row, error.image, groups) from None
        terms = self._terms(logits, boxes, targets, matches)
        terms = {name: term.unflatten(0, (-1, groups)).mean(1) for name, term in terms.items()}
        if output.queries.denoising is not None:
            denoised = self._denoising_terms(output, output.queries.denoising)
            terms |= {f'dn_{name}': term for name, term in denoised.items()}
        losses = {
            name if layer == last else f'd{layer}.{name}': term[layer]
            for layer in (last, *range(last))
            for name, term in terms.items()
        }
        return losses | self._proposal_losses(output.queries.proposals, targets)

    def _proposal_losses(self, proposals: Proposals | None, targets: Targets) -> dict[str, Tensor]:
        """Those of the cells, matched as a layer is; none where anchors were not chosen."""
        if proposals is None:
            return {}
        logits, boxes = (part[None] for part in proposals)
        terms = self._terms(logits, boxes, targets, self.matcher(logits, boxes, targets))
        return {f'enc_{name}': term[0] for name, term in terms.items()}

    def _terms(self, logits: Tensor, boxes: Tensor, targets: Targets, matches: Matches) -> dict[str, Tensor]:
        """(L,) each: summed over queries, divided by the matched objects."""
        # Mean over processes, so that their averaged gradient is that of one process with the whole
        # batch.
        matched = len(matches.layer) / len(logits)
        weight = self.class_scores.weight(matched, logits[0, ..., 0].numel())
        class_total, num_objects = reduce_mean(boxes.new_tensor([weight, matched])).clamp(min=1)
        terms = {name: term / num_objects for name, term in self._box_losses(boxes, targets, matches).items()}
        return {'loss_cls': self._class_loss(logits, boxes, targets, matches) / class_total} | terms

    def _denoising_terms(self, output: DecoderOutput, known: Denoising) -> dict[str, Tensor]:
        """(L,) each: the terms of the denoising queries, which need no matching (DN-DETR,
        "Denoising").

        The K of the batch are taken as one image, in which query k answers for object k.
        """
        layers, num_known = len(output.states), len(known.query)
        chosen = (slice(None), known.image, known.query)  # (L, B, N, D) -> (L, K, D)
        states, references = output.states[chosen][:, None], output.references[chosen][:, None]
        logits, boxes = self._answers(states, references, range(layers))
        layer = torch.arange(layers, device=boxes.device).repeat_interleave(num_known)
        number = torch.arange(num_known, device=boxes.device).repeat(layers)
        targets = Targets(known.labels[None], known.boxes[None], [num_known])
        return self._terms(logits.float(), boxes, targets, Matches(layer, torch.zeros_like(layer), number, number))

    def _class_loss(self, logits: Tensor, boxes: Tensor, targets: Targets, matches: Matches) -> Tensor:
        """(L,): summed over images and queries."""
        labels = torch.full(logits.shape[:3], self.num_classes, device=logits.device)
        labels[matches.layer, matches.image, matches.query] = targets.labels[matches.image, matches.target]
        quality = self._quality(boxes, targets, matches) if getattr(self.loss_cls, 'takes_quality', False) else None
        return self.class_scores.loss(self.loss_cls, logits, labels, quality)

    @staticmethod
    def _quality(boxes: Tensor, targets: Targets, matches: Matches) -> Tensor:
        """(L, B, N): IoU of a matched query's box with its object, without gradient; 0 for all
        others."""
        matched = (matches.layer, matches.image, matches.query)
        found, truth = boxes.detach()[matched], targets.boxes[matches.image, matches.target]
        iou = bbox_overlaps(bbox_cxcywh_to_xyxy(found), bbox_cxcywh_to_xyxy(truth), is_aligned=True)
        return boxes.new_zeros(boxes.shape[:3]).index_put(matched, iou)

    def _box_losses(self, boxes: Tensor, targets: Targets, matches: Matches) -> dict[str, Tensor]:
        """(L,) each: summed over the matched pairs; zero, with gradient, where there are none."""
        found = boxes[matches.layer, matches.image, matches.query]
        truth = targets.boxes[matches.image, matches.target]
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
            rescale: give boxes in pixels of the image as it was loaded, not as it was resized.

        Returns:
            per image InstanceData with ``scores``, ``labels`` and ``bboxes`` (x1 y1 x2 y2 in
            pixels), best first.
        """
        (logits,), (boxes,) = self(output, slice(-1, None))
        scores, labels, boxes = self.selection(self.class_scores, logits, boxes)
        results = []
        for sample, score, label, box in zip(data_samples, scores, labels, boxes, strict=True):
            height, width = sample.img_shape[:2]
            box = box * box.new_tensor([width, height, width, height])
            if rescale:
                # Without a Resize in the pipeline there is no factor.
                box = scale_boxes(box, tuple(1 / factor for factor in sample.metainfo.get('scale_factor', (1, 1))))
            results.append(InstanceData(scores=score, labels=label, bboxes=box))
        return results
