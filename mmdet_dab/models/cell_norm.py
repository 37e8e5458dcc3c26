"""A norm of feature maps that does not see padding."""

from __future__ import annotations

from torch import Tensor, nn

from mmdet_dab.registry import MODELS


@MODELS.register_module()
class CellNorm(nn.LayerNorm):
    """Layer norm of every cell over its channels, for a neck's ``norm_cfg``.

    Group norm takes its statistics over the whole map, padding included, so that an image's
    features depend on the other images of its batch. Here a cell depends on itself alone.

    Args:
        num_channels: C.
        eps: added to the variance.
    """

    _abbr_ = 'ln'  # the name of the layer in mmcv's blocks

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
