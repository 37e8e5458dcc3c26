"""What a detector answers layer by layer: anchors, scores, boxes, and which object they match.

Two kinds of detectors are known: ours, whose decoder gives a ``DecoderOutput``, and mmdet's, whose
``forward_transformer`` gives what its head takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmdet.models.detectors.base_detr import DetectionTransformer
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_dab.errors import UserError, listed
from mmdet_dab.explain.attentions import layers_of
from mmdet_dab.explain.tap import Call, tapped
from mmdet_dab.models.decoder_layer import DecoderLayer
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.matcher import Targets
from mmdet_dab.models.structures import ImageTokens
from mmdet_dab.models.tokenizer import valid_ratio


@dataclass(frozen=True)
class GroundTruth:
    """The objects of an image.

    Attributes:
        boxes: (T, 4) cx cy w h in parts of the image.
        labels: (T,) long.
    """

    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Answers:
    """What was answered for one image; the attributes are those of a recording."""

    anchors: Tensor
    anchors_after: Tensor
    references: Tensor
    boxes: Tensor
    scores: Tensor
    ground_truth: GroundTruth | None = None
    matched: Tensor | None = None

    def with_matches(self, ground_truth: GroundTruth | None, matched: Tensor | None) -> Answers:
        """The same with objects, and which query has which."""
        return replace(self, ground_truth=ground_truth, matched=matched)


def listening(model: Any) -> contextlib.AbstractContextManager[dict[str, list[Call]]]:
    """Listen to what :func:`run_of` needs.

    Raises:
        UserError: the model is no DETR.
    """
    check_queries(model)
    return _listen_to_ours(model) if isinstance(model, ComposedDETR) else _listen_to_mmdets(model)


def check_queries(model: Any) -> None:
    """Refuse what has no queries that could be recorded.

    Raises:
        UserError: the model is no DETR.
    """
    if not isinstance(model, ComposedDETR | DetectionTransformer):
        raise UserError(
            f'{type(model).__name__} has no decoder queries: what is recorded are the queries, anchors and attentions '
            "of DETRs; name a config of ours, or of one of mmdet's DETRs"
        )


@contextlib.contextmanager
def _listen_to_ours(model: ComposedDETR) -> Iterator[dict[str, list[Call]]]:
    with contextlib.ExitStack() as stack:
        heard = {'decoder': stack.enter_context(tapped(model.decoder, 'forward'))}
        for index, layer in enumerate(layers_of(model.decoder)):
            if isinstance(layer, DecoderLayer):
                heard[f'layer {index}'] = stack.enter_context(tapped(layer, 'forward'))
        yield heard


@contextlib.contextmanager
def _listen_to_mmdets(model: DetectionTransformer) -> Iterator[dict[str, list[Call]]]:
    with tapped(model, 'pre_transformer') as before, tapped(model, 'forward_transformer') as whole:
        yield {'before': before, 'whole': whole}


@dataclass(frozen=True)
class Run:
    """A forward pass of a batch; B images, the rest as in a recording.

    Attributes:
        model: the detector.
        logits: (L, B, N, C), or (L, B, N, C + 1) with background last.
        boxes: (L, B, N, 4).
        anchors, references: (L, B, N, 4), NaN where coordinates are lacking.
        shapes: (height, width) of the feature levels.
        padding: (B, S) bool, or None.
        valid_ratios: (B, V, 2).
    """

    model: Any
    logits: Tensor
    boxes: Tensor
    anchors: Tensor
    references: Tensor
    shapes: tuple[tuple[int, int], ...]
    padding: Tensor | None
    valid_ratios: Tensor

    def answers(self, image: int) -> Answers:
        """Those for one image."""
        logits, boxes, anchors = self.logits[:, image].float(), self.boxes[:, image], self.anchors[:, image]
        scores = logits.sigmoid() if is_sigmoid(self.model) else logits.softmax(-1)[..., :-1]
        last = boxes[-1:].masked_fill(anchors[-1:].isnan(), torch.nan)
        after = torch.cat((anchors[1:], last))
        return Answers(
            anchors=anchors.float().cpu(),
            anchors_after=after.float().cpu(),
            references=self.references[:, image].float().cpu(),
            boxes=boxes.float().cpu(),
            scores=scores.cpu(),
        )

    def match(self, image: int, truth: GroundTruth, img_shape: Sequence[int]) -> Tensor:
        """(L, N) long, the object of every query, −1 for none, by the model's own matcher.

        Raises:
            UserError: a label that the model does not have; a model without a matcher.
        """
        logits, boxes = self.logits[:, image], self.boxes[:, image]
        classes = logits.size(-1) - (not is_sigmoid(self.model))
        wrong = sorted({label for label in truth.labels.tolist() if not 0 <= label < classes})
        if wrong:
            raise UserError(
                f'ground truth: label {listed(wrong)} is none of the {classes} classes of the model: '
                'take the annotations of the dataset that it was trained on'
            )
        truth = GroundTruth(truth.boxes.to(boxes.device), truth.labels.to(boxes.device))
        head = getattr(self.model.bbox_head, 'head', self.model.bbox_head)
        if hasattr(head, 'matcher'):
            return _match_by_ours(head.matcher, logits, boxes, truth)
        if getattr(head, 'assigner', None) is None:
            raise UserError(
                f'{type(head).__name__} has no assigner, so that nothing says which query is matched: '
                'give the model train_cfg.assigner, or leave the ground truth out'
            )
        return _match_by_mmdets(head.assigner, logits, boxes, truth, img_shape)


def is_sigmoid(model: Any) -> bool:
    """Whether every class has a score of its own; else they add up to 1 with background."""
    head = getattr(model.bbox_head, 'head', model.bbox_head)
    scores = getattr(head, 'class_scores', None)
    return head.loss_cls.use_sigmoid if scores is None else scores.kind == 'sigmoid'


def _match_by_ours(matcher: Any, logits: Tensor, boxes: Tensor, truth: GroundTruth) -> Tensor:
    targets = Targets(truth.labels[None], truth.boxes[None], [len(truth.labels)])
    matches = matcher(logits[:, None], boxes[:, None], targets)
    matched = torch.full(logits.shape[:2], -1)
    matched[matches.layer.cpu(), matches.query.cpu()] = matches.target.cpu()
    return matched


def _match_by_mmdets(
    assigner: Any, logits: Tensor, boxes: Tensor, truth: GroundTruth, img_shape: Sequence[int]
) -> Tensor:
    height, width = img_shape[:2]
    size = boxes.new_tensor([width, height, width, height])
    objects = InstanceData(bboxes=bbox_cxcywh_to_xyxy(truth.boxes) * size, labels=truth.labels)
    meta = dict(img_shape=(height, width))
    rows = []
    for logit, box in zip(logits, boxes, strict=True):
        found = InstanceData(scores=logit, bboxes=bbox_cxcywh_to_xyxy(box) * size)
        result = assigner.assign(pred_instances=found, gt_instances=objects, img_meta=meta)
        rows.append(result.gt_inds.cpu() - 1)
    return torch.stack(rows)


def run_of(model: Any, heard: dict[str, list[Call]], inputs: Tensor) -> Run:
    """What was heard in a forward pass."""
    return _run_of_ours(model, heard) if 'decoder' in heard else _run_of_mmdets(model, heard)


def _run_of_ours(model: ComposedDETR, heard: dict[str, list[Call]]) -> Run:
    (call,) = heard['decoder']
    tokens: ImageTokens = call.argument(1, 'tokens')
    logits, boxes = model.bbox_head(call.result)
    references = whole_boxes(call.result.references)
    anchors = references
    if 'layer 0' in heard:
        given = [heard[f'layer {index}'][-1].argument(2, 'anchors') for index in range(len(references))]
        anchors = torch.stack([whole_boxes(anchor) for anchor in given])
    return Run(model, logits, boxes, anchors, references, tokens.shapes, tokens.padding, tokens.valid_ratios)


def _run_of_mmdets(model: DetectionTransformer, heard: dict[str, list[Call]]) -> Run:
    (before,), (whole,) = heard['before'], heard['whole']
    given = {name: whole.result[name] for name in ('hidden_states', 'references') if name in whole.result}
    logits, boxes = model.bbox_head(**given)
    to_encoder, to_decoder = before.result
    if 'spatial_shapes' in to_encoder:
        shapes = tuple((int(height), int(width)) for height, width in to_encoder['spatial_shapes'])
    else:  # DETR takes the last map
        shapes = (tuple(before.argument(0, 'img_feats')[-1].shape[-2:]),)
    padding = to_decoder.get('memory_mask')
    ratios = to_encoder.get('valid_ratios')
    if ratios is None:
        mask = boxes.new_zeros(boxes.size(1), *shapes[0], dtype=torch.bool) if padding is None else padding
        ratios = valid_ratio(mask.reshape(-1, *shapes[0]))[:, None]
    references = given.get('references')
    if references is None:  # DETR: boxes are measured from nothing
        references = boxes.new_full(boxes.shape, torch.nan)
    elif isinstance(references, Tensor) and references.dim() == 3:  # points that stay
        references = whole_boxes(references).expand_as(boxes)
    else:  # one more than layers, where the last is given to nobody
        references = torch.stack([whole_boxes(reference) for reference in references[: len(boxes)]])
    return Run(model, logits, boxes, references, references, shapes, padding, ratios)


def whole_boxes(anchors: Tensor) -> Tensor:
    """(..., 4, 2 or 0) -> (..., 4), NaN for what is lacking."""
    lacking = anchors.new_full((*anchors.shape[:-1], 4 - anchors.size(-1)), torch.nan)
    return torch.cat((anchors, lacking), dim=-1)
