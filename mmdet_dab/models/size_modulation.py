"""Width- and height-modulated attention: a wide anchor pools over a wide region (eq. 6)."""

from __future__ import annotations

from mmdet.models.layers import MLP
from mmengine.model import BaseModule
from torch import Tensor

from mmdet_dab.models.compatibility import Contract
from mmdet_dab.models.layers import xavier_matrices
from mmdet_dab.registry import MODELS


def modulate(sine: Tensor, reference_size: Tensor, size: Tensor) -> Tensor:
    """Multiply PE(x) by w_ref / w, and PE(y) by h_ref / h (eq. 6).

    Args:
        sine: (B, N, D), PE(y) in the first half, PE(x) in the second.
        reference_size: (B, N, 2), w_ref and h_ref in 0..1, what the content expects.
        size: (B, N, 2), w and h of the anchor in 0..1.

    Returns:
        (B, N, D).
    """
    ratio = (reference_size / size).flip(-1)  # (w, h) -> (h, w), for the order (y, x) of the code
    return (sine.unflatten(-1, (2, -1)) * ratio[..., None]).flatten(-2)


@MODELS.register_module()
class SizeModulation(BaseModule):
    """Eq. 6 with (w_ref, h_ref) = σ(MLP(content)).

    Args:
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.contract = Contract(embed_dims=embed_dims, anchor_dims=4)
        self.reference_size = MLP(embed_dims, embed_dims, 2, 2)

    def init_weights(self) -> None:
        """Xavier for the MLP."""
        xavier_matrices(self.reference_size)
        super().init_weights()

    def forward(self, sine: Tensor, content: Tensor, anchors: Tensor) -> Tensor:
        """Modulate.

        Args:
            sine: (B, N, D), the code of the anchors' centres, PE(y) first.
            content: (B, N, D).
            anchors: (B, N, 4) cx cy w h in 0..1.

        Returns:
            (B, N, D).
        """
        return modulate(sine, self.reference_size(content).float().sigmoid(), anchors[..., 2:])
