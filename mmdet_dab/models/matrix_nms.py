"""Predictions that say the same thing twice. A DETR learns to avoid them; after a short training it
has not yet."""

from __future__ import annotations

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from mmdet_dab.models.compatibility import require
from mmdet_dab.registry import TASK_UTILS


@TASK_UTILS.register_module()
class MatrixNMS:
    """Lowers the score of a box that repeats a better one of the same class: all images at once,
    without a loop.

    After SOLOv2 (Wang et al., NeurIPS 2020, "Matrix NMS"), with IoUs of boxes instead of masks: the
    score of j is multiplied by the least exp(−(IoU_ij² − c_i²) / σ) of all better i, where c_i, the
    largest IoU of i with a box better than itself, stands for how likely i is to be a duplicate,
    and to be left out of account.

    Args:
        sigma: σ; the smaller, the more is lowered.
    """

    def __init__(self, sigma: float = 0.5) -> None:
        require(type(self).__name__, 'sigma', sigma, sigma > 0, 'positive')
        self.sigma = sigma

    def __call__(self, scores: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """Scores (B, K), best first, labels (B, K) and boxes (B, K, 4) x1 y1 x2 y2 -> scores (B,
        K)."""
        same_class = labels[:, :, None] == labels[:, None]
        overlap = (bbox_overlaps(boxes, boxes) * same_class).triu(diagonal=1)  # (B, better, K)
        repeated = overlap.amax(1)[..., None]  # c
        factor = torch.exp((repeated.square() - overlap.square()) / self.sigma).amin(1)
        return scores * factor.clamp(max=1)
