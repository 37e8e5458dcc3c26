"""A detector as one function of tensors: what an exported file computes.

(images, valid sizes) -> (scores, labels, boxes). No data samples, no Python per image, no size that
is known beforehand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmdet_dab.interop.mmdet_heads import HeadAdapter
from mmdet_dab.models.class_scores import ClassScores, SigmoidScores, SoftmaxScores
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.selection import BestPredictions


def padding_of(valid_sizes: Tensor, height: int, width: int) -> Tensor:
    """(B, 2) h, w in pixels -> (B, height, width) bool, True on padding."""
    rows = torch.arange(height, device=valid_sizes.device)
    columns = torch.arange(width, device=valid_sizes.device)
    outside_y = rows[None, :] >= valid_sizes[:, :1]
    outside_x = columns[None, :] >= valid_sizes[:, 1:]
    return outside_y[:, :, None] | outside_x[:, None, :]


class DetectionProgram(nn.Module):
    """A trained detector without what only training needs.

    Args:
        detector: of ours, or one of mmdet's in its Mixed form.
    """

    def __init__(self, detector: ComposedDETR) -> None:
        super().__init__()
        self.detector = detector.eval()
        self.class_scores, self.selection = self.selecting(detector)

    @staticmethod
    def selecting(detector: ComposedDETR) -> tuple[ClassScores, BestPredictions]:
        """How predictions are chosen: as the head says; mmdet's heads choose as ours do."""
        head = detector.bbox_head
        if not isinstance(head, HeadAdapter):
            return head.class_scores, head.selection
        scores = SigmoidScores if head.head.loss_cls.use_sigmoid else SoftmaxScores
        test_cfg = head.head.test_cfg or {}
        number = test_cfg.get('max_per_img', 100)
        return scores(head.num_classes), BestPredictions(max_per_img=number)

    def forward(self, images: Tensor, valid_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect.

        Args:
            images: (B, 3, H, W) normalised, with padding right and below.
            valid_sizes: (B, 2) long, height and width of each image in pixels, without padding.

        Returns:
            scores (B, K) and labels (B, K), best first, and boxes (B, K, 4) x1 y1 x2 y2 in parts of
            each image, in 0..1.
        """
        padding = padding_of(valid_sizes, images.size(2), images.size(3))
        output = self.detector.decode_padded(images, padding)
        # No runtime takes out layers that nobody reads.
        (logits,), (boxes,) = self.detector.bbox_head(output, slice(-1, None))
        return self.selection(self.class_scores, logits, boxes)
