"""How anchors move from layer to layer (paper, section 3: "A' = σ(σ⁻¹(A) + ΔA)")."""

from __future__ import annotations

from torch import Tensor, nn

from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class AnchorUpdate(nn.Module):
    """Adds the offset where coordinates are unbounded: A' = σ(σ⁻¹(A) + ΔA).

    Args:
        eps: clamp of σ⁻¹ (released code: 1e-3; mmdet's port uses 1e-5 here).
    """

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        if not 0 < eps < 0.5:
            raise ValueError(f'{type(self).__name__}: eps={eps!r} must lie between 0 and 0.5')
        self.eps = eps

    def forward(self, anchors: Tensor, delta: Tensor) -> Tensor:
        """Move the anchors.

        Args:
            anchors: (B, N, 4) cx cy w h, or (B, N, 2) cx cy, in 0..1.
            delta: (B, N, 4), ΔA before the sigmoid; of points only the first two are used.

        Returns:
            like ``anchors``, in 0..1, with gradient.
        """
        return (inverse_sigmoid(anchors, self.eps) + delta[..., : anchors.size(-1)]).sigmoid()
