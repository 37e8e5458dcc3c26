"""Anchors that start from the training boxes: the hook reads the boxes, the model builds no
dataset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from mmdet_dab.errors import DataError
from mmdet_dab.hooks.unwrapped import detector_of
from mmdet_dab.models.anchors import BoxAnchors
from mmdet_dab.models.query_generator import AnchorQueryGenerator
from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class AnchorsFromDataHook(Hook):
    """Places the anchors of generators with ``initial_anchors=dict(type='BoxAnchors')``.

    It acts before the run, and so before weights are loaded: those of a checkpoint win. Without
    such a generator, and when a run resumes, it reads nothing.
    """

    def before_run(self, runner: Runner) -> None:
        """Read the boxes of the training set and place the anchors.

        Raises:
            DataError: the training set has no object whose size anchors could have.
        """
        # In a test there is no training loop, and asking the runner for one would build it.
        loop = runner._train_loop
        if not isinstance(loop, BaseLoop) or runner._resume:
            return
        for part in detector_of(runner).modules():
            if isinstance(part, AnchorQueryGenerator) and isinstance(part.initial_anchors, BoxAnchors):
                boxes = training_boxes(loop.dataloader.dataset, part.initial_anchors.max_images)
                part.place(part.initial_anchors.from_boxes(boxes, len(part.centers)))


def training_boxes(dataset: Any, max_images: int) -> np.ndarray:
    """The boxes of a dataset of mmdet's kind, without crowds and boxes without area.

    Args:
        dataset: its ``get_data_info`` names ``instances``, ``height`` and ``width``; of those
            that wrap another one, the inner one is read.
        max_images: read the boxes of this many images at most, evenly spread over the set.

    Returns:
        (n, 4) cx cy w h in parts of their images.

    Raises:
        DataError: there are none.
    """
    while not hasattr(dataset, 'get_data_info'):
        dataset = dataset.dataset  # a wrapper, such as mmdet's MultiImageMixDataset
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
        source = f'{type(dataset).__name__} {getattr(dataset, "ann_file", "")}'.strip()
        raise DataError(
            f'{source}: no object has a size that anchors could start with. Check the classes of metainfo, '
            "or take initial_anchors=dict(type='GridAnchors')."
        )
    return found_boxes
