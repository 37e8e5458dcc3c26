"""Our set matching where mmdet asks for an assigner: ``train_cfg.assigner`` of its DETRs."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData

from mmdet_dab.models.matcher import Targets, in_parts_of_image
from mmdet_dab.registry import TASK_UTILS


@TASK_UTILS.register_module()
class MatcherAssigner(BaseAssigner):
    """A matcher of ours behind mmdet's interface, which asks for one layer of one image at a time.

    Our own head does without it, and matches all layers and images at once.

    Args:
        matcher: config of the matcher. Costs of the same kind and weight give the same assignment
            as mmdet's ``HungarianAssigner``.
    """

    def __init__(self, matcher: dict) -> None:
        self.matcher = TASK_UTILS.build(matcher)

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign objects to queries one to one.

        Args:
            pred_instances: ``scores`` (N, C), which in mmdet's DETRs are logits, and ``bboxes`` (N,
                4) x1 y1 x2 y2 in pixels.
            gt_instances: ``labels`` (T,) and ``bboxes`` (T, 4) x1 y1 x2 y2 in pixels.
            img_meta: with ``img_shape`` (h, w) in pixels.
            kwargs: nothing of mmdet's DETRs.

        Returns:
            ``gt_inds`` (N,) with the object's index from 1 on, 0 for background; ``labels`` (N,),
            -1 for background.

        Raises:
            ValueError: a prediction is not finite, or ``img_meta`` is missing.
        """
        if img_meta is None:
            raise ValueError(
                f'{type(self).__name__} needs img_meta with img_shape, in parts of which boxes are matched'
            )
        logits, labels = pred_instances.scores, gt_instances.labels
        result = AssignResult(
            num_gts=len(labels),
            gt_inds=labels.new_zeros(len(logits)),
            max_overlaps=None,
            labels=labels.new_full((len(logits),), -1),
        )
        if len(labels) and len(logits):
            found = in_parts_of_image(pred_instances.bboxes, img_meta['img_shape'])
            true_boxes = in_parts_of_image(get_box_tensor(gt_instances.bboxes), img_meta['img_shape'])
            if not (logits.isfinite().all() and found.isfinite().all()):
                raise ValueError(
                    f'A prediction for {img_meta.get("img_path", "an image")} is not finite: the training has '
                    'diverged (lower the learning rate, or clip gradients)'
                )
            targets = Targets(labels[None], true_boxes[None], [len(labels)])
            pairs = self.matcher(logits[None, None], found[None, None], targets)
            result.gt_inds[pairs.query] = pairs.target + 1
            result.labels[pairs.query] = labels[pairs.target]
        return result
