"""Anchors that are chosen from the encoded image, instead of learned: the two-stage start.

After Deformable DETR (Zhu et al., ICLR 2021, arXiv:2010.04159, appendix A.4); content stays that of
DAB-DETR, as in DINO's mixed query selection (arXiv:2203.03605, section 3.4).
"""

from __future__ import annotations

import math

import torch
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import MLP, inverse_sigmoid
from mmdet_dab.models.structures import ImageTokens, Proposals, Queries
from mmdet_dab.registry import MODELS

#: Logit of a cell that is padding: no class is ever there.
NOTHING = -1e4


def cell_boxes(tokens: ImageTokens, size: float) -> Tensor:
    """The boxes that cells answer from: square, around the middle of each cell.

    Args:
        tokens: the encoded images.
        size: width and height on the first level, in parts of the image; twice as much on every
            next one.

    Returns:
        (B, S, 4) cx cy w h in parts of the image; on padding cx or cy is more than 1.
    """
    levels = []
    for level, (height, width) in enumerate(tokens.shapes):
        x = (torch.arange(width, device=tokens.content.device) + 0.5) / width
        y = (torch.arange(height, device=tokens.content.device) + 0.5) / height
        on_level = torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1).flatten(0, 1)
        centers = on_level / tokens.valid_ratios[:, level, None]  # (B, S of the level, 2)
        levels.append(torch.cat((centers, torch.full_like(centers, size * 2**level)), dim=-1))
    return torch.cat(levels, dim=1)


@MODELS.register_module()
class EncoderQueryGenerator(BaseModule):
    """Anchors are the boxes of the N cells that look most like an object; content is learned, one
    for each rank, or zero.

    Every cell says a class and a box by branches of its own. They are trained beside the decoder
    (losses ``enc_loss_cls`` and so on), matched to the objects as a layer is; what the decoder
    makes of the anchors does not reach them. ``DenoisingQueryGenerator`` may stand around it. For
    sigmoid scores.

    Args:
        num_classes: C.
        num_queries: N; images with fewer cells have one for each cell.
        embed_dims: width D.
        size: of the boxes that cells answer from, on the first level, in parts of the image;
            doubled level by level (Deformable DETR: 0.05).
        learned_content: whether there is a content for each rank, or zero.
        prior: class probability at the start, as in ``SigmoidScores``.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int = 300,
        embed_dims: int = 256,
        size: float = 0.05,
        learned_content: bool = True,
        prior: float = 0.01,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        require(name, 'num_queries', num_queries, num_queries >= 1, 'at least 1')
        require(name, 'size', size, 0 < size < 1, 'between 0 and 1')
        require(name, 'prior', prior, 0 < prior < 1, 'between 0 and 1')
        self.contract = Contract(
            query_kind='anchors',
            anchor_dims=4,
            class_scores='sigmoid',
            embed_dims=embed_dims,
            num_classes=num_classes,
            class_tensors=('class_branch.weight', 'class_branch.bias'),
        )
        self.num_queries, self.size, self.prior = num_queries, size, prior
        self.project = nn.Sequential(nn.Linear(embed_dims, embed_dims), nn.LayerNorm(embed_dims))
        self.class_branch = nn.Linear(embed_dims, num_classes)
        self.box_branch = MLP(embed_dims, embed_dims, 4, 3)
        self.embed_dims = embed_dims
        self.content = nn.Parameter(torch.randn(num_queries, embed_dims)) if learned_content else None

    def init_weights(self) -> None:
        """Class bias at the prior; boxes start as those that cells answer from."""
        nn.init.constant_(self.class_branch.bias, -math.log((1 - self.prior) / self.prior))
        nn.init.zeros_(self.box_branch.layers[-1].weight)
        nn.init.zeros_(self.box_branch.layers[-1].bias)
        super().init_weights()

    def proposals(self, tokens: ImageTokens) -> Proposals:
        """What every cell says: logits (B, S, C) and boxes (B, S, 4) cx cy w h in 0..1."""
        states = self.project(tokens.content)
        logits = self.class_branch(states).float()
        if tokens.padding is not None:
            logits = logits.masked_fill(tokens.padding[..., None], NOTHING)
        start = inverse_sigmoid(cell_boxes(tokens, self.size).float().clamp(0, 1))
        return Proposals(logits, (self.box_branch(states).float() + start).sigmoid())

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch.

        Args:
            tokens: the encoded images.
            data_samples: ground truth in training, or None: then nobody has to learn from the
                cells.

        Returns:
            content (B, N, D) and anchors (B, N, 4), best first, and in training ``proposals``.
        """
        batch, cells = tokens.content.shape[:2]
        number = min(self.num_queries, cells)
        found = self.proposals(tokens)
        seen = found.logits.detach().amax(-1)
        if tokens.padding is not None:
            # Equal values are ranked in no certain order. Where an image has fewer cells than
            # queries, padding comes in that of the cells.
            seen = seen - tokens.padding * torch.arange(cells, dtype=seen.dtype, device=seen.device)
        best = seen.topk(number, dim=1).indices
        anchors = found.boxes.detach().gather(1, best[..., None].expand(-1, -1, 4))
        content = tokens.content.new_zeros(number, self.embed_dims) if self.content is None else self.content[:number]
        return Queries(content.expand(batch, -1, -1), anchors, proposals=None if data_samples is None else found)
