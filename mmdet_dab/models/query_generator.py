"""Where queries come from: learned 4-D anchors, the paper's dynamic anchor boxes (section 3)."""

from __future__ import annotations

from typing import Literal

import torch
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.contracts import choose
from mmdet_dab.models.structures import ImageTokens, Queries
from mmdet_dab.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class AnchorQueryGenerator(BaseModule):
    """Learned anchors, with content that is zero, learned per anchor, or one pattern of several.

    Args:
        initial_anchors: config of the strategy that places the anchors (``initial_anchors.py``).
        num_queries: anchors A; with P patterns there are N = P·A queries.
        embed_dims: width D of the content.
        anchor_dims: 4 for boxes, 2 for points.
        num_patterns: learned content embeddings, each combined with every anchor, pattern-major
            (after Anchor DETR; the paper's models marked * have 3). 0: none.
        learned_content: give every anchor a content of its own (DAB-Deformable-DETR), to which a pattern
            is added; without, content starts at zero.
        fixed_centers: keep x and y as they were initialised. They are a buffer then, so that
            neither gradient nor weight decay can move them, unlike in the released code, where
            ``weight.data[:, :2].requires_grad = False`` has no effect.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        initial_anchors: dict,
        num_queries: int = 300,
        embed_dims: int = 256,
        anchor_dims: Literal[2, 4] = 4,
        num_patterns: int = 0,
        learned_content: bool = False,
        fixed_centers: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        choose(name, 'anchor_dims', anchor_dims, (2, 4))
        if num_queries < 1 or num_patterns < 0:
            raise ValueError(
                f'{name}: num_queries={num_queries} and num_patterns={num_patterns} must be at least 1 and 0'
            )
        self.contract = {'embed_dims': embed_dims, 'anchor_dims': anchor_dims}
        self.embed_dims = embed_dims
        logits = TASK_UTILS.build(initial_anchors)(num_queries)
        centers, sizes = logits[:, :2].clone(), logits[:, 2:].clone()
        if fixed_centers:
            self.register_buffer('centers', centers)
        else:
            self.centers = nn.Parameter(centers)
        self.sizes = nn.Parameter(sizes) if anchor_dims == 4 else None
        self.content = nn.Parameter(torch.randn(num_queries, embed_dims)) if learned_content else None
        self.patterns = nn.Parameter(torch.randn(num_patterns, embed_dims)) if num_patterns else None

    def anchors(self) -> Tensor:
        """(A, anchor_dims), the anchors before the first layer: cx cy (w h) in 0..1."""
        logits = self.centers if self.sizes is None else torch.cat((self.centers, self.sizes), dim=1)
        return logits.float().sigmoid()

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch.

        Args:
            tokens: the encoded pictures; these queries depend on their number only.
            data_samples: the truth in training; not used by these queries.

        Returns:
            content (B, N, D) and anchors (B, N, anchor_dims).
        """
        batch = tokens.content.size(0)
        anchors = self.anchors()
        content = tokens.content.new_zeros(len(anchors), self.embed_dims) if self.content is None else self.content
        if self.patterns is not None:
            content = content.repeat(len(self.patterns), 1) + self.patterns.repeat_interleave(len(anchors), dim=0)
            anchors = anchors.repeat(len(self.patterns), 1)
        return Queries(content.expand(batch, -1, -1), anchors.expand(batch, -1, -1))
