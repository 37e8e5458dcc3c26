"""From anchors and content to the positional queries of both attentions (section 3, eq. 2, 4, 6).

P        = MLP(PE(x), PE(y), PE(w), PE(h))           for self-attention
PE(x, y) · MLP_csq(C) · (w_ref / w, h_ref / h)       for cross-attention

Deformable attention looks around the anchor by construction. There P · MLP_csq(C) serves both.

In the detectors before DAB-DETR, P is learned: DETR has it in both attentions, and Conditional DETR
takes PE(point) · MLP(C) for cross-attention.

All have one signature: ``(queries, layer, positional_encoder) -> QueryPosition``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, choose
from mmdet_dab.models.layers import MLP, RenamedTensors, xavier_matrices
from mmdet_dab.models.structures import PositionalEncoder, Queries, QueryPosition
from mmdet_dab.registry import MODELS

#: Names of tensors before the scale and the modulation were parts -> names now.
BEFORE_PARTS = MappingProxyType(
    {
        'content_scale.': 'position_scale.',
        'layer_scale': 'position_scale.factors',
        'reference_size.': 'size_modulation.reference_size.',
    }
)


class ScaledPositionalQuery(RenamedTensors, BaseModule):
    """What all share that scale a position by content.

    Args:
        position_scale: config of the scale (``position_scale.py``); None: the position stays.
        init_cfg: see mmengine's BaseModule.
    """

    renamed_tensors = BEFORE_PARTS

    def __init__(self, position_scale: dict | None, init_cfg: dict | None) -> None:
        super().__init__(init_cfg)
        self.position_scale = None if position_scale is None else MODELS.build(position_scale)

    @property
    def reads_content(self) -> bool:
        """Whether the scale is made of content, which says nothing yet in the first layer."""
        return getattr(self.position_scale, 'reads_content', False)

    @property
    def scaled_layers(self) -> int | None:
        """Decoder layers that the scale has factors for; None where it serves any number."""
        return getattr(self.position_scale, 'scaled_layers', None)

    def scaled(self, position: Tensor, content: Tensor, layer: int) -> Tensor:
        """Position (B, N, D) times its scale; the first layer takes 1 for one made of content."""
        if self.position_scale is None or (layer == 0 and self.reads_content):
            return position
        return self.position_scale(position, content, layer)


@MODELS.register_module()
class AnchorPositionalQuery(ScaledPositionalQuery):
    """The positional queries of DAB-DETR.

    Args:
        embed_dims: width D.
        anchor_dims: 4 for boxes, 2 for points.
        position_scale: config of what PE(x, y) is multiplied by (``position_scale.py``); None:
            nothing.
        size_modulation: config of what lets w and h modulate PE(x, y) (``size_modulation.py``);
            None: nothing.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        anchor_dims: Literal[2, 4] = 4,
        position_scale: dict | None = None,
        size_modulation: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(position_scale, init_cfg)
        choose(type(self).__name__, 'anchor_dims', anchor_dims, (2, 4))
        self.embed_dims = embed_dims
        self.learned = MLP(anchor_dims // 2 * embed_dims, embed_dims, embed_dims, 2)
        self.size_modulation = None if size_modulation is None else MODELS.build(size_modulation)
        self.contract = Contract(
            query_kind='anchors',
            anchor_dims=anchor_dims,
            sine_code=bool(position_scale or size_modulation) or None,
            embed_dims=embed_dims,
            num_layers=self.scaled_layers,
            several_layers=self.reads_content or None,
        )

    def init_weights(self) -> None:
        """Xavier for the MLP of P."""
        xavier_matrices(self.learned)
        super().init_weights()

    def forward(self, queries: Queries, layer: int, positional_encoder: PositionalEncoder) -> QueryPosition:
        """Encode the anchors for one decoder layer.

        Args:
            queries: of this layer, with content (B, N, D) and anchors (B, N, anchor_dims) in 0..1.
            layer: index of the decoder layer, from 0.
            positional_encoder: gives ``boxes(anchors)``.

        Returns:
            P and the positional half of the cross-attention's query, (B, N, D) each.
        """
        anchors = queries.required('anchors', self)
        code = positional_encoder.boxes(anchors)
        learned = self.learned(code.to(self.learned.layers[0].weight.dtype))
        sine = self.scaled(code[..., : self.embed_dims], queries.content, layer)
        if self.size_modulation is not None:
            sine = self.size_modulation(sine, queries.content, anchors)
        return QueryPosition(learned, sine)


@MODELS.register_module()
class DeformablePositionalQuery(ScaledPositionalQuery):
    """The positional query of DAB-Deformable-DETR: P · MLP_csq(C), without modulation.

    Args:
        position_scale: config of what P is multiplied by (``position_scale.py``); None: nothing.
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, position_scale: dict | None = None, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(position_scale, init_cfg)
        self.embed_dims = embed_dims
        self.learned = MLP(2 * embed_dims, embed_dims, embed_dims, 2)
        self.contract = Contract(
            query_kind='anchors',
            anchor_dims=4,
            embed_dims=embed_dims,
            num_layers=self.scaled_layers,
            several_layers=self.reads_content or None,
        )

    def init_weights(self) -> None:
        """Xavier for the MLP of P."""
        xavier_matrices(self.learned)
        super().init_weights()

    def forward(self, queries: Queries, layer: int, positional_encoder: PositionalEncoder) -> QueryPosition:
        """Encode the anchors for one decoder layer.

        Args:
            queries: of this layer, with content (B, N, D) and anchors (B, N, 4) in 0..1.
            layer: index of the decoder layer, from 0.
            positional_encoder: gives ``boxes(anchors)``.

        Returns:
            the scaled P, and PE(x, y) as it is, (B, N, D) each.
        """
        code = positional_encoder.boxes(queries.required('anchors', self))
        learned = self.learned(code.to(self.learned.layers[0].weight.dtype))
        return QueryPosition(self.scaled(learned, queries.content, layer), code[..., : self.embed_dims])


@MODELS.register_module()
class LearnedPositionalQuery(nn.Module):
    """The positional query of DETR: the learned position, in both attentions."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = Contract(query_kind='learned positions')

    def forward(self, queries: Queries, layer: int, positional_encoder: PositionalEncoder) -> QueryPosition:
        """The same for every decoder layer.

        Args:
            queries: with a learned position (B, N, D).
            layer: not used.
            positional_encoder: not used; learned positions are no places in the image.

        Returns:
            the position twice.
        """
        position = queries.required('position', self)
        return QueryPosition(position, position)


@MODELS.register_module()
class ConditionalPositionalQuery(ScaledPositionalQuery):
    """The positional queries of Conditional DETR: what was learned, and PE(point) · MLP(C) (eq. 3
    to 5 there).

    Args:
        position_scale: config of what PE(point) is multiplied by (``position_scale.py``); None:
            nothing.
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, position_scale: dict | None = None, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(position_scale, init_cfg)
        self.contract = Contract(
            query_kind='learned positions',
            anchor_dims=2,
            sine_code=True,
            embed_dims=embed_dims,
            num_layers=self.scaled_layers,
            several_layers=self.reads_content or None,
        )

    def forward(self, queries: Queries, layer: int, positional_encoder: PositionalEncoder) -> QueryPosition:
        """Encode the points for one decoder layer.

        Args:
            queries: of this layer, with content and learned position (B, N, D), and anchors
                (B, N, 2) in 0..1, the points.
            layer: index of the decoder layer, from 0.
            positional_encoder: gives ``boxes(anchors)``.

        Returns:
            the learned position, and the scaled code of the point, (B, N, D) each.
        """
        sine = positional_encoder.boxes(queries.required('anchors', self))
        return QueryPosition(queries.required('position', self), self.scaled(sine, queries.content, layer))
