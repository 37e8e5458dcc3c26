"""Where queries come from: learned 4-D anchors, the paper's dynamic anchor boxes (section 3).

And what came before them: learned positions (DETR), and points predicted from these (Conditional
DETR).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, choose, require
from mmdet_dab.models.layers import MLP, xavier_matrices
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
        learned_content: give every anchor a content of its own (DAB-Deformable-DETR), to which a
            pattern is added; without, content starts at zero.
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
        self.contract = Contract(query_kind='anchors', anchor_dims=anchor_dims, embed_dims=embed_dims)
        self.embed_dims = embed_dims
        self.initial_anchors = TASK_UTILS.build(initial_anchors)
        logits = self.initial_anchors(num_queries)
        centers, sizes = logits[:, :2].clone(), logits[:, 2:].clone()
        if fixed_centers:
            self.register_buffer('centers', centers)
        else:
            self.centers = nn.Parameter(centers)
        self.sizes = nn.Parameter(sizes) if anchor_dims == 4 else None
        self.content = nn.Parameter(torch.randn(num_queries, embed_dims)) if learned_content else None
        self.patterns = nn.Parameter(torch.randn(num_patterns, embed_dims)) if num_patterns else None

    @torch.no_grad()
    def place(self, logits: Tensor) -> None:
        """Start from other anchors: (A, 4) before the sigmoid, cx cy w h."""
        self.centers.copy_(logits[:, :2])
        if self.sizes is not None:
            self.sizes.copy_(logits[:, 2:])

    def anchors(self) -> Tensor:
        """(A, anchor_dims), the anchors before the first layer: cx cy (w h) in 0..1."""
        logits = self.centers if self.sizes is None else torch.cat((self.centers, self.sizes), dim=1)
        return logits.float().sigmoid()

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch.

        Args:
            tokens: the encoded images; these queries depend on their number only.
            data_samples: the ground truth in training; not used by these queries.

        Returns:
            content (B, N, D) and anchors (B, N, anchor_dims).
        """
        content, anchors = self.of_any_image(tokens)
        batch = tokens.content.size(0)
        return Queries(content.expand(batch, -1, -1), anchors.expand(batch, -1, -1))

    def of_any_image(self, tokens: ImageTokens) -> tuple[Tensor, Tensor]:
        """What all images start from: content (N, D), of the type of the tokens, and anchors (N,
        anchor_dims)."""
        anchors = self.anchors()
        content = tokens.content.new_zeros(len(anchors), self.embed_dims) if self.content is None else self.content
        if self.patterns is not None:
            content = content.repeat(len(self.patterns), 1) + self.patterns.repeat_interleave(len(anchors), dim=0)
            anchors = anchors.repeat(len(self.patterns), 1)
        return content, anchors


@MODELS.register_module()
class LearnedQueryGenerator(BaseModule):
    """Content that is zero, and a learned position for every query, which means no place in the
    image (DETR).

    Args:
        num_queries: N.
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    #: Coordinates of an anchor.
    anchor_dims = 0

    def __init__(self, num_queries: int = 300, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        require(type(self).__name__, 'num_queries', num_queries, num_queries >= 1, 'at least 1')
        self.contract = Contract(query_kind='learned positions', anchor_dims=self.anchor_dims, embed_dims=embed_dims)
        self.position = nn.Parameter(torch.randn(num_queries, embed_dims))

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch.

        Args:
            tokens: the encoded images; these queries depend on their number only.
            data_samples: the ground truth in training; not used by these queries.

        Returns:
            content and position (B, N, D).
        """
        position = self.position.expand(tokens.content.size(0), -1, -1)
        return Queries(torch.zeros_like(position), position=position)


@MODELS.register_module()
class PredictedPointQueryGenerator(LearnedQueryGenerator):
    """Learned positions, from each of which a point is predicted: σ(MLP(position)) (Conditional
    DETR, section 3.3).

    Args:
        num_queries: N.
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    anchor_dims = 2

    def __init__(self, num_queries: int = 300, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(num_queries, embed_dims, init_cfg)
        self.point = MLP(embed_dims, embed_dims, 2, 2)

    def init_weights(self) -> None:
        """Xavier for the MLP."""
        xavier_matrices(self.point)
        super().init_weights()

    def anchors(self) -> Tensor:
        """(N, 2), the points: cx cy in 0..1."""
        return self.point(self.position).float().sigmoid()

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch: content and position (B, N, D), and anchors (B, N, 2); see
        the base."""
        queries = super().forward(tokens, data_samples)
        return replace(queries, anchors=self.anchors().expand(queries.content.size(0), -1, -1))


@torch.no_grad()
def learned_anchors(model: nn.Module) -> Tensor | None:
    """The anchors that a detector of ours starts from, before it sees an image.

    Returns:
        (A, 4) cx cy w h or (A, 2) cx cy in 0..1; None for queries without places.
    """
    for part in model.modules():
        if isinstance(part, AnchorQueryGenerator | PredictedPointQueryGenerator):
            return part.anchors()
    return None
