"""Where anchors start, before any training: strategies of the query generator.

A strategy is a callable (number of queries) -> (N, 4) float32 *before the sigmoid*, cx cy w h.
It draws from torch's global generator, so that a seed reproduces it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from mmdet_dab.models.compatibility import choose, require
from mmdet_dab.registry import TASK_UTILS

#: Anchors stay this far from the border and from zero, where σ⁻¹ has no value.
EPS = 1e-3


def _size_logits(size: float | Sequence[float] | None, num_queries: int, part: str) -> Tensor:
    """(N, 2) logits of w and h: N(0, 1) for None, else the size (w, h) or (w = h) in 0..1."""
    if size is None:
        return torch.randn(num_queries, 2)
    width_height = torch.as_tensor([size, size] if isinstance(size, int | float) else list(size), dtype=torch.float32)
    if width_height.shape != (2,) or not ((width_height > 0) & (width_height < 1)).all():
        raise ValueError(f'{part}: size={size!r} must be a number or (w, h), as parts of the image between 0 and 1')
    return width_height.logit().expand(num_queries, 2).clone()


@TASK_UTILS.register_module()
class NormalAnchors:
    """The released initialisation: N(0, 1) before the sigmoid, for all four coordinates.

    Most anchors then lie in the middle of the image and are half as large as it. COCO's 50
    epochs get over that; small datasets do not.
    """

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits."""
        return torch.randn(num_queries, 4)


@TASK_UTILS.register_module()
class UniformAnchors:
    """Centres uniform over the image (as in the released fixed-xy models).

    Args:
        size: width and height, one number or (w, h), as parts of the image; None draws them
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
        """(N, 4) logits."""
        sizes = _size_logits(self.size, num_queries, type(self).__name__)
        return torch.cat((grid(num_queries).logit(), sizes), dim=1)


def grid(num_points: int) -> Tensor:
    """(N, 2) points x y in 0..1, row by row; rows differ by at most one point, so that none is left
    over."""
    num_rows = max(1, round(math.sqrt(num_points)))
    points = []
    for row in range(num_rows):
        columns = num_points * (row + 1) // num_rows - num_points * row // num_rows
        x = (torch.arange(columns) + 0.5) / columns
        points.append(torch.stack((x, torch.full_like(x, (row + 0.5) / num_rows)), dim=1))
    return torch.cat(points)


@TASK_UTILS.register_module()
class BoxAnchors:
    """Anchors that know the objects of the training set before the first step: their sizes, or
    places as well.

    ``AnchorsFromDataHook`` reads the boxes when a training run starts, and calls
    :meth:`from_boxes`. The checkpoint holds the anchors, so that a trained model needs no data.
    Clusters are found by k-means with a seed of its own: the same data gives the same anchors on
    every process.

    Args:
        centers: ``'grid'``: a grid over the whole image; sizes are clustered, and scattered on it,
            each as often as is its share of the objects. ``'data'``: whole boxes are clustered, one
            anchor each.
        num_sizes: sizes on a grid, at most; 1 gives all anchors the mean size (of logarithms).
        max_images: read the boxes of this many images at most, evenly spread over the set.
        seed: of the clustering.
    """

    def __init__(
        self,
        centers: Literal['grid', 'data'] = 'grid',
        num_sizes: int = 1,
        max_images: int = 2000,
        seed: int = 0,
    ) -> None:
        name = type(self).__name__
        choose(name, 'centers', centers, ('grid', 'data'))
        require(name, 'num_sizes', num_sizes, num_sizes >= 1, 'at least 1')
        require(name, 'max_images', max_images, max_images >= 1, 'at least 1')
        self.centers, self.num_sizes, self.max_images, self.seed = centers, num_sizes, max_images, seed

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits for as long as no boxes are known: a grid, sizes N(0, 1) before the
        sigmoid."""
        return GridAnchors()(num_queries)

    def from_boxes(self, boxes: np.ndarray, num_queries: int) -> Tensor:
        """Anchors of the sizes, or at the places, of known boxes.

        Args:
            boxes: (n, 4) cx cy w h in 0..1, with n ≥ 1 and an area each.
            num_queries: N.

        Returns:
            (N, 4) logits.
        """
        if self.centers == 'grid':
            anchors = self._on_grid(boxes, num_queries)
        else:
            anchors, _ = clusters(boxes, num_queries, self.seed)
            missing = num_queries - len(anchors)
            if missing:  # fewer objects than queries
                anchors = np.concatenate((anchors, self._on_grid(boxes, missing)))
        return torch.from_numpy(anchors).float().clamp(EPS, 1 - EPS).logit()

    def _on_grid(self, boxes: np.ndarray, num_queries: int) -> np.ndarray:
        """(N, 4): one grid, on which the sizes are scattered."""
        sizes, counts = clusters(boxes[:, 2:], min(self.num_sizes, num_queries), self.seed)
        order = np.argsort(sizes.prod(axis=1))  # that of the clusters is chance
        chosen = np.repeat(order, shares(counts[order], num_queries))
        return np.concatenate((grid(num_queries).numpy(), sizes[chosen[scattered(num_queries)]]), axis=1)


def clusters(boxes: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster boxes (n, 4) or sizes (n, 2); sizes by their logarithm, since 1 and 2 differ as much
    as 10 and 20.

    Returns:
        (K, …) the middle of every cluster and (K,) how many are in it; K is less than ``number``
        where fewer differ.
    """
    points = boxes.copy()
    points[:, -2:] = np.log(points[:, -2:])
    distinct = np.unique(points, axis=0)
    if len(distinct) <= number:
        middles = distinct
        label = np.unique(points, axis=0, return_inverse=True)[1].reshape(-1)
    else:
        middles, label = kmeans2(points, number, iter=30, minit='++', seed=np.random.default_rng(seed))
    counts = np.bincount(label, minlength=len(middles))
    middles, counts = middles[counts > 0], counts[counts > 0]
    middles[:, -2:] = np.exp(middles[:, -2:])
    return middles, counts


def scattered(number: int) -> np.ndarray:
    """(n,) 0 … n − 1 in an order in which those that follow one another lie far apart.

    Each is the rank of a step of the golden ratio around a circle, which fills it evenly.
    """
    return np.argsort(np.argsort(np.arange(number) * (math.sqrt(5) - 1) / 2 % 1))


def shares(counts: np.ndarray, total: int) -> list[int]:
    """Divide ``total`` in proportion to ``counts``, at least 1 each (``total`` ≥ their number)."""
    result = np.ones(len(counts), dtype=int)
    for _ in range(total - len(counts)):
        # The one that is furthest behind its share (Sainte-Laguë's method).
        result[np.argmax(counts / (2 * result + 1))] += 1
    return result.tolist()
