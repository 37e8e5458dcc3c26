"""What hooks see of a training without touching it: answers of the head, truth, names of pictures.

Everything is taken where torch and the Runner offer it to be seen (forward hooks, the batch that hooks are handed), so
that no part has to know that it is watched, and detectors of mmdet can be watched as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

#: Detectors with other words for their head are judged by their losses and gradients alone.
HEAD = 'bbox_head'


class Answers(NamedTuple):
    """What a DETR's head says of a batch.

    Attributes:
        logits: (L, B, N, C), or (L, B, N, C + 1) with background last.
        boxes: (L, B, N, 4) cx cy w h in 0..1.
    """

    logits: Tensor
    boxes: Tensor


def watched_model(runner: Runner) -> nn.Module:
    """The detector itself, without the wrapper of distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def as_answers(output: Any) -> Answers | None:
    """The output of a head as logits and boxes, or None where it is something else.

    The heads of mmdet's DETRs give the same two tensors as ours.
    """
    if not isinstance(output, (tuple, list)) or len(output) != 2:
        return None
    logits, boxes = output
    if not (isinstance(logits, Tensor) and isinstance(boxes, Tensor)) or logits.dim() != 4 or boxes.dim() != 4:
        return None
    if logits.shape[:3] != boxes.shape[:3] or boxes.size(-1) != 4:
        return None
    return Answers(logits.detach().float(), boxes.detach().float())


def on_answers(model: nn.Module, see: Callable[[Answers], None]) -> list[RemovableHandle]:
    """Call ``see`` with all that the head answers; no handle where the detector has no head of that kind."""
    head = getattr(model, HEAD, None)
    if not isinstance(head, nn.Module):
        return []

    def hook(part: nn.Module, inputs: Any, output: Any) -> None:
        answers = as_answers(output)
        if answers is not None:
            see(answers)

    return [head.register_forward_hook(hook)]


def samples_of(data_batch: Any) -> list[DetDataSample]:
    """The data samples of a batch as the loader gives it; none where it holds something else."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if not isinstance(samples, Sequence):
        return []
    return [sample for sample in samples if isinstance(sample, DetDataSample)]


def true_boxes(sample: DetDataSample) -> Tensor:
    """(T, 4) x1 y1 x2 y2 in pixels."""
    return get_box_tensor(sample.gt_instances.bboxes)


def name_of(sample: DetDataSample) -> str:
    """The file of a picture, or its id where it has no file."""
    path = sample.metainfo.get('img_path')
    return str(path) if path else f'picture {sample.metainfo.get("img_id", "without a name")}'


def is_finite(tensor: Tensor) -> bool:
    """Whether every element is a number, by one look."""
    return bool(torch.isfinite(tensor).all())
