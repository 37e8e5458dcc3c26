"""One sine code for cells of the feature map and for anchor boxes (paper, section 4.1 and eq. 2,
6).

Cells and anchors get the *same kind* of encoding, so that the dot product of PE(x, y) of an anchor
with PE(x, y) of a cell falls off smoothly with their distance: a soft pooling of the anchor's
region. The temperature sets how wide it is (paper, section 4.4 and table 6: 20 for images).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract
from mmdet_dab.registry import MODELS


def sine_code(position: Tensor, num_feats: int, temperature: float) -> Tensor:
    """PE(·) of one coordinate: sines and cosines of falling frequency, interleaved.

    Args:
        position: (...), angle of the lowest index in radians, in 0..2π for a coordinate in 0..1.
        num_feats: width F of the code, even.
        temperature: ratio of the highest to the lowest frequency.

    Returns:
        (..., F) float32. Half precision would turn neighbouring cells into the same code, so
        this ignores autocast and the model's dtype.
    """
    index = torch.arange(num_feats, dtype=torch.float32, device=position.device)
    period = temperature ** (2 * torch.div(index, 2, rounding_mode='floor') / num_feats)
    angle = position.float()[..., None] / period
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


@MODELS.register_module()
class SinePositionalEncoder(nn.Module):
    """PE for cells and for boxes; the detector hands one instance to all who need it.

    The order of the coordinates is (y, x) for cells and points, (y, x, w, h) for boxes.

    Args:
        embed_dims: width D of the code of a cell, and of the (y, x) of a box; a multiple of 4.
        temperature: of the code of cells, and of boxes too unless ``box_temperature`` says
            otherwise.
        box_temperature: of the code of boxes. The released weights were trained with 10000 here and
            20 for cells, which the authors called a bug (their issue 21); the paper has 20 for
            both.
        scale: angle of coordinate 1, in radians.
        eps: keeps the normalisation of cells finite (released code: 1e-6).
        offset: in cells, taken off a cell's count: 0 puts a cell at its far end (DETR, DAB-DETR),
            0.5 at its centre (Deformable DETR).
    """

    def __init__(
        self,
        embed_dims: int = 256,
        temperature: float = 20,
        box_temperature: float | None = None,
        scale: float = 2 * math.pi,
        eps: float = 1e-6,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dims % 4:
            raise ValueError(
                f'{type(self).__name__}: embed_dims={embed_dims} is not a multiple of 4, but x and y get half of it '
                'each, and a half holds pairs of sine and cosine'
            )
        self.contract = Contract(embed_dims=embed_dims)
        self.num_feats = embed_dims // 2
        self.temperature = temperature
        self.box_temperature = temperature if box_temperature is None else box_temperature
        self.scale = scale
        self.eps = eps
        self.offset = offset
        for key in ('temperature', 'box_temperature'):
            if not getattr(self, key) > 0:
                raise ValueError(f'{type(self).__name__}: {key}={getattr(self, key)!r} must be positive')

    def cells(self, padding: Tensor) -> Tensor:
        """Encode the cells of one feature map.

        Args:
            padding: (B, H, W) bool, True on padding. Positions count the cells that are image,
                so that 1 is the lower right end of the image, not of the padded canvas.

        Returns:
            (B, H, W, D) float32.
        """
        inside = (~padding).float()
        y, x = inside.cumsum(1), inside.cumsum(2)
        y = (y - self.offset) / (y[:, -1:, :] + self.eps) * self.scale
        x = (x - self.offset) / (x[:, :, -1:] + self.eps) * self.scale
        return torch.cat([sine_code(axis, self.num_feats, self.temperature) for axis in (y, x)], dim=-1)

    def boxes(self, anchors: Tensor) -> Tensor:
        """Encode anchors.

        Args:
            anchors: (..., 4) cx cy w h, or (..., 2) cx cy, in 0..1.

        Returns:
            (..., 2D) for boxes, (..., D) for points, float32; the first D are PE(y), PE(x).
        """
        x, y, *size = anchors.unbind(-1)
        codes = [sine_code(axis * self.scale, self.num_feats, self.box_temperature) for axis in (y, x, *size)]
        return torch.cat(codes, dim=-1)
