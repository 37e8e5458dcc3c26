"""What a position is multiplied by before attention: MLP(content), or what was learned.

The encoder scales the positions of the cells, the positional query the code of the anchor
(MLP_csq, eq. 4; ``query_scale`` in the released code).
"""

from __future__ import annotations

import torch
from mmdet.models.layers import MLP
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import xavier_matrices
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class ContentScale(MLP):
    """A factor for every channel: position · MLP(content) (the paper).

    Args:
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    #: Content says nothing before the first decoder layer, which therefore takes 1 (released code).
    reads_content = True

    def __init__(self, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(embed_dims, embed_dims, self.num_factors(embed_dims), 2)
        self.init_cfg = init_cfg
        self.contract = Contract(embed_dims=embed_dims)

    @staticmethod
    def num_factors(embed_dims: int) -> int:
        """How many factors a position gets."""
        return embed_dims

    def init_weights(self) -> None:
        """Xavier for the matrices; after that ``init_cfg`` has its say."""
        xavier_matrices(self)
        super().init_weights()

    def forward(self, position: Tensor, content: Tensor, layer: int) -> Tensor:
        """Scale.

        Args:
            position: (B, N, D), of cells or anchors.
            content: (B, N, D).
            layer: index from 0; all layers share the MLP.

        Returns:
            (B, N, D).
        """
        return position * super().forward(content)


@MODELS.register_module()
class ScalarScale(ContentScale):
    """One factor for all channels of a position: position · MLP(content)."""

    @staticmethod
    def num_factors(embed_dims: int) -> int:
        """One."""
        return 1


@MODELS.register_module()
class LayerScale(nn.Module):
    """A learned factor for every channel of every layer, 1 at the start; content has no say.

    Args:
        num_layers: L.
        embed_dims: width D.
    """

    reads_content = False

    def __init__(self, num_layers: int, embed_dims: int = 256) -> None:
        super().__init__()
        require(type(self).__name__, 'num_layers', num_layers, num_layers >= 1, 'at least 1')
        self.contract = Contract(embed_dims=embed_dims)
        self.scaled_layers = num_layers
        self.factors = nn.Parameter(torch.ones(num_layers, embed_dims))

    def forward(self, position: Tensor, content: Tensor, layer: int) -> Tensor:
        """Position (B, N, D) times the factors of one layer -> (B, N, D)."""
        return position * self.factors[layer]
