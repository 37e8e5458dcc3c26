"""The focal loss (Lin et al., ICCV 2017, eq. 5) of many logits, of which nearly all are background."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_dab.models.contracts import require
from mmdet_dab.registry import MODELS

#: Logits in a piece.
PIECE = 2**18


def background_loss(logits: Tensor, balance: float, gamma: float, slope: Tensor | None = None) -> Tensor:
    """The focal loss of logits x that should be low, b · s^γ · −log(1 − s) with s = σ(x).

    That of logits that should be high is its mirror image, the loss of −x.

    Args:
        logits: (R, K).
        balance: b.
        gamma: γ.
        slope: (R, K), where to write the derivative, b · s^γ (s + γ (1 − s) · −log(1 − s)); may be ``logits``.
            None: nobody asks for it.

    Returns:
        (R,), summed over each row.
    """
    surprise = F.softplus(logits)  # −log(1 − s)
    score = logits.sigmoid()
    weight = (score * score if gamma == 2 else score**gamma).mul_(balance)
    loss = (weight * surprise).sum(1)
    if slope is not None:
        torch.mul(surprise.mul_(1 - score).mul_(gamma).add_(score), weight, out=slope)
    return loss


class _Focal(torch.autograd.Function):
    """The loss with its derivative, which costs little while the loss's terms are at hand."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float, differentiate: bool) -> Tensor:
        rows, columns = (labels < logits.size(-1)).nonzero(as_tuple=True)
        objects = (rows, columns, labels[rows, columns])
        # All as background, but for the logit of an object's own class: at −∞ loss and slope are zero.
        slope = logits.index_put(objects, logits.new_tensor(-torch.inf))
        loss = logits.new_zeros(len(logits))
        # A GPU takes all at once; a CPU a piece at a time, whose intermediate results stay in its caches.
        flat = slope.flatten(1)
        width = flat.size(1) if logits.is_cuda else PIECE // max(1, len(flat))
        for piece in flat.split(max(1, width), dim=1):
            loss += background_loss(piece, 1 - alpha, gamma, piece if differentiate else None)
        hits = -logits[objects][:, None]
        hit_slope = torch.empty_like(hits) if differentiate else None
        loss.index_add_(0, rows, background_loss(hits, alpha, gamma, hit_slope))
        if hit_slope is not None:
            slope[objects] = -hit_slope[:, 0]
            ctx.save_for_backward(slope)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0][:, None, None] * slope, None, None, None, None


@MODELS.register_module()
class SigmoidFocalLoss(nn.Module):
    """The focal loss of set prediction, summed over each decoder layer: mmdet's in a fraction of the time on a CPU.

    Args:
        alpha: balance of positives, in 0..1.
        gamma: focus on hard examples.
        loss_weight: of the result.
    """

    use_sigmoid = True
    #: Tells heads that it takes labels and sums by itself.
    sums_rows = True

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        require(type(self).__name__, 'alpha', alpha, 0 <= alpha <= 1, 'in 0..1')
        require(type(self).__name__, 'gamma', gamma, gamma >= 0, 'at least 0')
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (L, N, C) and labels (L, N) long, C for background -> (L,), summed over queries and classes."""
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        differentiate = exact.requires_grad and torch.is_grad_enabled()
        return _Focal.apply(exact, labels, self.alpha, self.gamma, differentiate) * self.loss_weight
