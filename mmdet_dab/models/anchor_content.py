"""Content that knows its anchor, where DAB-DETR starts from none.

Values of the attentions carry no position, and one MLP measures boxes for all queries. Content that
starts at zero can therefore not say from which size its box is measured, and the MLP cannot make up
for it (docs/convergence.md has what this is worth from random weights). Not in the paper.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.models.query_generator import AnchorQueryGenerator
from mmdet_dab.models.structures import ImageTokens
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class AnchorContentQueryGenerator(AnchorQueryGenerator):
    """To the content it adds a linear function of what boxes are measured from: W σ⁻¹(A) + b.

    The anchor is that of the first layer; gradients of the content reach it, too.

    Args:
        embed_dims: width D of the content.
        settings: see the base.
    """

    def __init__(self, embed_dims: int = 256, **settings: Any) -> None:
        super().__init__(embed_dims=embed_dims, **settings)
        self.anchor_content = nn.Linear(cast(int, self.contract.anchor_dims), embed_dims)

    def of_any_image(self, tokens: ImageTokens) -> tuple[Tensor, Tensor]:
        """Content (N, D) that knows its anchors, and these (N, anchor_dims); see the base."""
        content, anchors = super().of_any_image(tokens)
        return content + self.anchor_content(inverse_sigmoid(anchors)), anchors
