"""Where anchors start, before any training: strategies of the query generator.

A strategy is a callable (number of queries) -> (N, 4) float32 *before the sigmoid*, cx cy w h.
It draws from torch's global generator, so that a seed reproduces it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_dab.registry import TASK_UTILS


def _size_logits(size: float | Sequence[float] | None, num_queries: int, part: str) -> Tensor:
    """(N, 2) logits of w and h: N(0, 1) for None, else the size (w, h) or (w = h) in 0..1."""
    if size is None:
        return torch.randn(num_queries, 2)
    width_height = torch.as_tensor([size, size] if isinstance(size, int | float) else list(size), dtype=torch.float32)
    if width_height.shape != (2,) or not ((width_height > 0) & (width_height < 1)).all():
        raise ValueError(f'{part}: size={size!r} must be a number or (w, h), as parts of the picture between 0 and 1')
    return width_height.logit().expand(num_queries, 2).clone()


@TASK_UTILS.register_module()
class NormalAnchors:
    """The released initialisation: N(0, 1) before the sigmoid, for all four coordinates.

    Most anchors then lie in the middle of the picture and are half as large as it. COCO's 50
    epochs get over that; small data sets do not.
    """

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits."""
        return torch.randn(num_queries, 4)


@TASK_UTILS.register_module()
class UniformAnchors:
    """Centres uniform over the picture (as in the released fixed-xy models).

    Args:
        size: width and height, one number or (w, h), as parts of the picture; None draws them
            N(0, 1) before the sigmoid.
    """

    def __init__(self, size: float | Sequence[float] | None = None) -> None:
        self.size = size
        _size_logits(size, 1, type(self).__name__)

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits."""
        centers = torch.rand(num_queries, 2).clamp(1e-3, 1 - 1e-3).logit()
        return torch.cat((centers, _size_logits(self.size, num_queries, type(self).__name__)), dim=1)


@TASK_UTILS.register_module()
class GridAnchors:
    """Centres on the rows and columns of a grid, as square as the number of queries allows.

    Args:
        size: as in :class:`UniformAnchors`.
    """

    def __init__(self, size: float | Sequence[float] | None = None) -> None:
        self.size = size
        _size_logits(size, 1, type(self).__name__)

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits; rows differ by at most one anchor, so that none is left over."""
        num_rows = max(1, round(math.sqrt(num_queries)))
        centers = []
        for row in range(num_rows):
            columns = num_queries * (row + 1) // num_rows - num_queries * row // num_rows
            x = (torch.arange(columns) + 0.5) / columns
            centers.append(torch.stack((x, torch.full_like(x, (row + 0.5) / num_rows)), dim=1))
        sizes = _size_logits(self.size, num_queries, type(self).__name__)
        return torch.cat((torch.cat(centers).logit(), sizes), dim=1)
