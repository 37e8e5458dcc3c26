"""Which predictions a detector keeps: the best of the last layer, as tensors alone."""

from __future__ import annotations

from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from torch import Tensor, nn

from mmdet_dab.models.class_scores import ClassScores
from mmdet_dab.models.compatibility import require
from mmdet_dab.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class BestPredictions(nn.Module):
    """The best pairs of query and class (with a softmax: the best queries, each with its best
    class).

    Args:
        max_per_img: how many, at most.
        clip_boxes: cut boxes at the border of the image, as mmdet does; the released code does not.
        duplicates: config of what lowers the scores of predictions that repeat better ones
            (``matrix_nms.py``); None, as DETRs are meant, leaves them.
    """

    def __init__(self, max_per_img: int = 300, clip_boxes: bool = True, duplicates: dict | None = None) -> None:
        super().__init__()
        require(type(self).__name__, 'max_per_img', max_per_img, max_per_img >= 1, 'at least 1')
        self.max_per_img = max_per_img
        self.clip_boxes = clip_boxes
        self.duplicates = None if duplicates is None else TASK_UTILS.build(duplicates)

    def forward(self, class_scores: ClassScores, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Select.

        Args:
            class_scores: says what logits mean.
            logits: (B, N, C), or (B, N, C + 1) with background last.
            boxes: (B, N, 4) cx cy w h in 0..1.

        Returns:
            scores (B, K), labels (B, K) and boxes (B, K, 4) x1 y1 x2 y2 in parts of the image, best
            first; K is ``max_per_img``, or less where there are fewer.
        """
        scores, labels, queries = class_scores.best(logits.float(), self.max_per_img)
        boxes = bbox_cxcywh_to_xyxy(boxes).gather(1, queries[..., None].expand(-1, -1, 4))
        if self.clip_boxes:
            boxes = boxes.clamp(0, 1)
        if self.duplicates is not None:
            scores, order = self.duplicates(scores, labels, boxes).topk(scores.size(1))
            labels, boxes = labels.gather(1, order), boxes.gather(1, order[..., None].expand(-1, -1, 4))
        return scores, labels, boxes
