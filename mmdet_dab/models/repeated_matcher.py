"""Every object is answered for by several queries: more to learn from where images are few.

After DE-DETR (Wang et al., ECCV 2022, arXiv:2203.09507, section 4.3), which repeats the labels of
an image and takes the duplicates out of its predictions afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmdet_dab.models.compatibility import require
from mmdet_dab.models.matcher import Matches, Targets
from mmdet_dab.registry import TASK_UTILS


@TASK_UTILS.register_module()
class RepeatedMatcher(nn.Module):
    """A matching in which every object stands several times.

    Queries then learn to find an object more than once: the head needs a selection without
    duplicates, such as ``selection=dict(duplicates=dict(type='MatrixNMS'))``.

    Args:
        matcher: config of the matcher.
        repeats: how often an object stands (that paper: 2). 1: no repetition.
    """

    def __init__(self, matcher: dict, repeats: int = 2) -> None:
        super().__init__()
        require(type(self).__name__, 'repeats', repeats, repeats >= 1, 'at least 1')
        self.matcher = TASK_UTILS.build(matcher)
        self.repeats = repeats

    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Matches:
        """Match every layer and image; see the matcher.

        Args:
            logits: (L, B, N, C).
            boxes: (L, B, N, 4) cx cy w h in 0..1.
            targets: the objects of the batch, each once.

        Returns:
            the pairs; an image with T objects has min(N, repeats · T) in every layer, and an object
            at most ``repeats``.
        """
        counts = torch.tensor(targets.counts, device=boxes.device)
        places = torch.arange(targets.labels.size(1) * self.repeats, device=boxes.device)
        # Object t of T stands at t, T + t, 2T + t …: the first T · repeats places.
        original = places % counts.clamp(min=1)[:, None]
        repeated = Targets(
            targets.labels.gather(1, original),
            targets.boxes.gather(1, original[..., None].expand(-1, -1, 4)),
            [count * self.repeats for count in targets.counts],
        )
        matches = self.matcher(logits, boxes, repeated)
        return matches._replace(target=original[matches.image, matches.target])
