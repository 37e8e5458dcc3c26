"""A class loss that asks for scores as high as the boxes are good."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_dab.models.compatibility import require
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class MatchabilityLoss(nn.Module):
    """The matchability-aware loss: an object's class is learned up to the IoU of the query's box.

    With p the score of a class and q the IoU of the matched box with its object, a logit's loss is

        −q^γ log p − (1 − q^γ) log(1 − p)    of the object's class,
        −p^γ log(1 − p)                      of all other classes and queries,

    where p^γ is a weight and gets no gradient. Reference: DEIM (arXiv:2412.04234, section 3.3).
    Focal loss asks a poor box for a score of 1 as well, and so does not learn which box is best.
    The matching cost stays the focal one. For sigmoid scores.

    Args:
        gamma: γ (DEIM: 1.5).
        loss_weight: of the result.
    """

    use_sigmoid = True
    #: The head hands over the IoU of every query's box.
    takes_quality = True

    def __init__(self, gamma: float = 1.5, loss_weight: float = 1.0) -> None:
        super().__init__()
        require(type(self).__name__, 'gamma', gamma, gamma >= 0, 'at least 0')
        self.gamma, self.loss_weight = gamma, loss_weight

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
        """The loss of every decoder layer.

        Args:
            logits: (L, N, C).
            labels: (L, N) long, C for background.
            quality: (L, N) in 0..1, IoU with the object; read where there is one.

        Returns:
            (L,), summed over queries and classes.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        is_object = labels < logits.size(-1)
        own = labels.clamp(max=logits.size(-1) - 1)[..., None]
        wanted = torch.where(is_object, quality.to(logits.dtype) ** self.gamma, 0)
        targets = torch.zeros_like(logits).scatter(-1, own, wanted[..., None])
        weights = logits.detach().sigmoid() ** self.gamma
        weights = weights.scatter(-1, own, weights.gather(-1, own).masked_fill(is_object[..., None], 1))
        loss = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction='none')
        return loss.sum(dim=(1, 2)) * self.loss_weight
