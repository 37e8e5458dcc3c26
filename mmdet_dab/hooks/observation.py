"""What hooks read during a training: outputs of the head, ground truth, names of images.

Everything is read through torch's forward hooks and the batch that the Runner hands to its hooks.
No part has to know that it is observed, and mmdet's detectors can be observed as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

#: Name of the head in a detector. Of one without it, only losses and gradients are observed.
HEAD = 'bbox_head'


class HeadOutput(NamedTuple):
    """What a DETR's head predicts for a batch.

    Attributes:
        logits: (L, B, N, C), or (L, B, N, C + 1) with background last.
        boxes: (L, B, N, 4) cx cy w h in 0..1.
    """

    logits: Tensor
    boxes: Tensor


def as_head_output(output: Any) -> HeadOutput | None:
    """The output of a head as logits and boxes, or None where it is something else.

    The heads of mmdet's DETRs return the same two tensors as ours.
    """
    if not isinstance(output, (tuple, list)) or len(output) != 2:
        return None
    logits, boxes = output
    if not (isinstance(logits, Tensor) and isinstance(boxes, Tensor)) or logits.dim() != 4 or boxes.dim() != 4:
        return None
    if logits.shape[:3] != boxes.shape[:3] or boxes.size(-1) != 4:
        return None
    return HeadOutput(logits.detach().float(), boxes.detach().float())


def on_head_output(model: nn.Module, observe: Callable[[HeadOutput], None]) -> list[RemovableHandle]:
    """Call ``observe`` with every output of the head; no handle where the detector has no such
    head.
    """
    head = getattr(model, HEAD, None)
    if not isinstance(head, nn.Module):
        return []

    def hook(part: nn.Module, inputs: Any, output: Any) -> None:
        found = as_head_output(output)
        if found is not None:
            observe(found)

    return [head.register_forward_hook(hook)]


def samples_of(data_batch: Any) -> list[DetDataSample]:
    """The data samples of a batch from the data loader; empty where it holds something else."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if not isinstance(samples, Sequence):
        return []
    return [sample for sample in samples if isinstance(sample, DetDataSample)]


def ground_truth_boxes(sample: DetDataSample) -> Tensor:
    """(T, 4) x1 y1 x2 y2 in pixels."""
    return get_box_tensor(sample.gt_instances.bboxes)


def name_of(sample: DetDataSample) -> str:
    """The file of an image, or its id where it has no file."""
    path = sample.metainfo.get('img_path')
    return str(path) if path else f'image {sample.metainfo.get("img_id", "without a name")}'


def is_finite(tensor: Tensor) -> bool:
    """Whether every element is a finite number, in one step."""
    return bool(torch.isfinite(tensor).all())
