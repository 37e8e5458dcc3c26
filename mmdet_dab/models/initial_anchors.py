"""Where anchors start, before any training: strategies of the query generator.

A strategy is a callable (number of queries) -> (N, 4) float32 *before the sigmoid*, cx cy w h.
It draws from torch's global generator, so that a seed reproduces it. One that has ``reads_data`` is
called when weights are initialised, which the Runner does in training only: a trained model needs no data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from mmdet.registry import DATASETS
from scipy.cluster.vq import kmeans2
from torch import Tensor

from mmdet_dab.models.contracts import choose, require
from mmdet_dab.registry import TASK_UTILS

#: Anchors stay this far from the border and from zero, where σ⁻¹ has no value.
EPS = 1e-3


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
        """(N, 4) logits."""
        sizes = _size_logits(self.size, num_queries, type(self).__name__)
        return torch.cat((grid(num_queries).logit(), sizes), dim=1)


def grid(num_points: int) -> Tensor:
    """(N, 2) points x y in 0..1, row by row; rows differ by at most one point, so that none is left over."""
    num_rows = max(1, round(math.sqrt(num_points)))
    points = []
    for row in range(num_rows):
        columns = num_points * (row + 1) // num_rows - num_points * row // num_rows
        x = (torch.arange(columns) + 0.5) / columns
        points.append(torch.stack((x, torch.full_like(x, (row + 0.5) / num_rows)), dim=1))
    return torch.cat(points)


@TASK_UTILS.register_module()
class BoxAnchors:
    """Anchors that know the objects of the training set before the first step: their sizes, or their places as well.

    The boxes are read once, when weights are initialised. Their clusters are found by k-means with a seed of its own,
    so that the same data gives the same anchors on every process and machine; the checkpoint holds them.

    Args:
        dataset: config of the training set; its pipeline is left out.
        centers: ``'grid'``: a grid over the whole picture; sizes are clustered, and scattered on it, each as often as
            is its share of the objects. ``'data'``: whole boxes are clustered, one anchor each.
        num_sizes: sizes on a grid, at most; 1 gives all anchors the mean size (of logarithms).
        max_images: read the boxes of this many pictures at most, evenly spread over the set.
        seed: of the clustering.

    Raises:
        ValueError: (when called) the data set cannot be read, or has no objects.
    """

    reads_data = True

    def __init__(
        self,
        dataset: Mapping,
        centers: Literal['grid', 'data'] = 'grid',
        num_sizes: int = 1,
        max_images: int = 2000,
        seed: int = 0,
    ) -> None:
        name = type(self).__name__
        choose(name, 'centers', centers, ('grid', 'data'))
        require(name, 'num_sizes', num_sizes, num_sizes >= 1, 'at least 1')
        require(name, 'max_images', max_images, max_images >= 1, 'at least 1')
        self.dataset, self.centers, self.num_sizes = dataset, centers, num_sizes
        self.max_images, self.seed = max_images, seed

    def __call__(self, num_queries: int) -> Tensor:
        """(N, 4) logits."""
        boxes = training_boxes(self.dataset, self.max_images)
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


def training_boxes(config: Mapping, max_images: int) -> np.ndarray:
    """(n, 4) boxes of a data set, cx cy w h in parts of their pictures; crowds and boxes without area are left out.

    Args:
        config: of a data set of mmdet's kind, whose ``get_data_info`` names ``instances``, ``height`` and ``width``.
        max_images: see :class:`BoxAnchors`.
    """
    # mmdet's registry finds its own types without a prefix, and others by theirs.
    dataset = DATASETS.build({**config, 'pipeline': []})
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), max_images)).round().astype(int))
    boxes = []
    for index in chosen.tolist():
        info = dataset.get_data_info(index)
        found = [instance['bbox'] for instance in info['instances'] if not instance['ignore_flag']]
        corners = np.array(found, dtype=np.float64).reshape(-1, 2, 2) / (info['width'], info['height'])
        low, high = corners.clip(0, 1).transpose(1, 0, 2)
        boxes.append(np.concatenate(((low + high) / 2, high - low), axis=1))
    found_boxes = np.concatenate(boxes)
    found_boxes = found_boxes[(found_boxes[:, 2:] > 0).all(axis=1)]
    if not len(found_boxes):
        source = ' '.join(str(config[key]) for key in ('type', 'ann_file') if key in config)
        raise ValueError(f'BoxAnchors: {source} has no object whose size anchors could have')
    return found_boxes


def clusters(boxes: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster boxes (n, 4) or sizes (n, 2); sizes by their logarithm, since 1 and 2 differ as much as 10 and 20.

    Returns:
        (K, …) the middle of every cluster and (K,) how many are in it; K is less than ``number`` where fewer differ.
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
