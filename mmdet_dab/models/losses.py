"""The focal loss (Lin et al., ICCV 2017, eq. 5) of many logits, of which nearly all are
background."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_dab.models.compatibility import choose, require
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
        slope: (R, K), where to write the derivative, b · s^γ (s + γ (1 − s) · −log(1 − s)); may be
            ``logits``.
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
        # All as background, but for the logit of an object's own class: at −∞ loss and slope are
        # zero. Rows of no object are looked at, too: to leave them out, the CPU would have to wait
        # for a GPU to count the others.
        is_object = labels < logits.size(-1)
        own = labels.clamp(max=logits.size(-1) - 1)[..., None]
        of_own = logits.gather(-1, own)[..., 0]
        slope = logits.scatter(-1, own, of_own.masked_fill(is_object, -torch.inf)[..., None])
        loss = logits.new_zeros(len(logits))
        # A GPU takes all at once; a CPU a piece at a time, whose intermediate results stay in its
        # caches.
        flat = slope.flatten(1)
        width = flat.size(1) if logits.is_cuda else PIECE // max(1, len(flat))
        for piece in flat.split(max(1, width), dim=1):
            loss += background_loss(piece, 1 - alpha, gamma, piece if differentiate else None)
        hits = (-of_own).masked_fill(~is_object, -torch.inf)
        hit_slope = torch.empty_like(hits) if differentiate else None
        loss += background_loss(hits, alpha, gamma, hit_slope)
        if hit_slope is not None:
            slope.scatter_add_(-1, own, -hit_slope[..., None])
            ctx.save_for_backward(slope)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0][:, None, None] * slope, None, None, None, None


def focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """The focal loss as it stands in the paper, element by element: −α_t (1 − p_t)^γ log p_t.

    Args:
        logits: (..., C).
        targets: (..., C), 1 for the class of the object, else 0.
        alpha: balance of positives.
        gamma: focus on hard examples.

    Returns:
        (..., C). :class:`SigmoidFocalLoss` gives its sums in a fraction of the time.
    """
    sign = 2 * targets - 1
    p_t = (sign * logits).sigmoid()
    alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
    return -alpha_t * (1 - p_t) ** gamma * F.logsigmoid(sign * logits)


@MODELS.register_module()
class SigmoidFocalLoss(nn.Module):
    """The focal loss of set prediction: mmdet's ``FocalLoss`` in a fraction of the time on a CPU.

    It may stand in mmdet's heads, which call it as they call mmdet's. Our head calls
    :meth:`row_sums`.

    Args:
        alpha: balance of positives, in 0..1.
        gamma: focus on hard examples.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``, as in mmdet.
        loss_weight: of the result.
        use_sigmoid: as configs of mmdet state it; this loss has no other form.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        use_sigmoid: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        require(name, 'use_sigmoid', use_sigmoid, use_sigmoid, 'True: it has no other form')
        self.use_sigmoid = use_sigmoid
        require(name, 'alpha', alpha, 0 <= alpha <= 1, 'in 0..1')
        require(name, 'gamma', gamma, gamma >= 0, 'at least 0')
        choose(name, 'reduction', reduction, ('mean', 'sum', 'none'))
        self.alpha, self.gamma, self.reduction, self.loss_weight = alpha, gamma, reduction, loss_weight

    def row_sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (L, N, C) and labels (L, N) long, C for background -> (L,), summed over queries
        and classes."""
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        differentiate = exact.requires_grad and torch.is_grad_enabled()
        return _Focal.apply(exact, labels, self.alpha, self.gamma, differentiate) * self.loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss as mmdet's heads ask for it.

        Args:
            pred: (N, C) logits.
            target: (N,) long, C for background.
            weight: (N,), or None: all 1.
            avg_factor: what a mean is divided by; None: the number of logits.
            reduction_override: in the place of ``reduction``.

        Returns:
            a scalar, or (N, C) with ``'none'``.

        Raises:
            ValueError: an unknown reduction, or ``avg_factor`` with a sum.
        """
        reduction = choose(
            type(self).__name__, 'reduction', reduction_override or self.reduction, ('mean', 'sum', 'none')
        )
        if reduction == 'sum' and avg_factor is not None:
            raise ValueError(f"{type(self).__name__}: avg_factor={avg_factor!r} divides a mean; reduction is 'sum'")
        if reduction == 'none':
            targets = F.one_hot(target, pred.size(1) + 1)[:, :-1].to(pred)
            loss = focal_loss(pred, targets, self.alpha, self.gamma) * self.loss_weight
            return loss if weight is None else loss * weight[:, None]
        if weight is None:
            total = self.row_sums(pred[None], target[None]).sum()
        else:
            total = (self.row_sums(pred[:, None], target[:, None]) * weight).sum()
        return total if reduction == 'sum' else total / (pred.numel() if avg_factor is None else avg_factor)
