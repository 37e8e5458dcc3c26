"""How anchors move from layer to layer (paper, section 3: "A' = σ(σ⁻¹(A) + ΔA)")."""

from __future__ import annotations

from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.models.structures import AnchorStep
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class AnchorUpdate(nn.Module):
    """Adds the offset where coordinates are unbounded: A' = σ(σ⁻¹(A) + ΔA).

    The next layer starts from the detached anchor. The head measures boxes from the one with
    gradient, so that their loss also trains the update before (released DAB-DETR; "look forward
    twice" in DINO). A part of your own overrides :meth:`move`.

    Args:
        eps: clamp of σ⁻¹ (released code: 1e-3; mmdet's port uses 1e-5 here).
    """

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        require(type(self).__name__, 'eps', eps, 0 < eps < 0.5, 'between 0 and 0.5')
        self.contract = Contract(query_kind='anchors')
        self.eps = eps

    def move(self, anchors: Tensor, delta: Tensor) -> Tensor:
        """Move the anchors.

        Args:
            anchors: (B, N, 4) cx cy w h, or (B, N, 2) cx cy, in 0..1.
            delta: (B, N, 4), ΔA before the sigmoid; of points only the first two are used.

        Returns:
            like ``anchors``, in 0..1, with gradient.
        """
        return (inverse_sigmoid(anchors, self.eps) + delta[..., : anchors.size(-1)]).sigmoid()

    def forward(self, anchors: Tensor, delta: Tensor) -> AnchorStep:
        """Anchors and references of the next layer; see :meth:`move`."""
        updated = self.move(anchors, delta)
        return AnchorStep(updated.detach(), updated)


@MODELS.register_module()
class DetachedAnchorUpdate(AnchorUpdate):
    """The same, but boxes are measured from the detached anchor, too (Deformable DETR)."""

    def forward(self, anchors: Tensor, delta: Tensor) -> AnchorStep:
        """Anchors and references of the next layer, which are the same; see :meth:`move`."""
        updated = self.move(anchors, delta).detach()
        return AnchorStep(updated, updated)
