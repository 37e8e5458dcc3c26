"""From anchors and content to the positional queries of both attentions (paper, section 3 and eq. 2, 4, 6).

P        = MLP(PE(x), PE(y), PE(w), PE(h))           for self-attention
PE(x, y) · MLP_csq(C) · (w_ref / w, h_ref / h)       for cross-attention

Deformable attention looks around the anchor by construction. There P · MLP_csq(C) serves both attentions.

In the detectors before DAB-DETR, P is learned: DETR has it in both attentions, and Conditional DETR takes
PE(point) · MLP(C) for cross-attention. These parts belong to a decoder of learned positions.
"""

from __future__ import annotations

from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.contracts import choose
from mmdet_dab.models.layers import MLP, xavier_matrices
from mmdet_dab.models.structures import PositionalEncoder, QueryPosition
from mmdet_dab.registry import MODELS


def modulate(sine: Tensor, reference_size: Tensor, size: Tensor) -> Tensor:
    """Width- and height-modulated attention (eq. 6): a wide anchor pools over a wide region.

    Args:
        sine: (B, N, D), PE(y) in the first half, PE(x) in the second.
        reference_size: (B, N, 2), w_ref and h_ref in 0..1, what the content expects.
        size: (B, N, 2), w and h of the anchor in 0..1.

    Returns:
        (B, N, D): the half of x times w_ref / w, the half of y times h_ref / h.
    """
    ratio = (reference_size / size).flip(-1)  # (w, h) -> (h, w), for the order (y, x) of the code
    return (sine.unflatten(-1, (2, -1)) * ratio[..., None]).flatten(-2)


@MODELS.register_module()
class AnchorPositionalQuery(BaseModule):
    """The positional queries of DAB-DETR.

    Args:
        embed_dims: width D.
        anchor_dims: 4 for boxes, 2 for points.
        position_scale: what PE(x, y) is multiplied by. ``'element'``: MLP(content), a factor per
            channel (the paper); ``'scalar'``: MLP(content), one factor; ``'layer'``: a learned
            vector per decoder layer, 1 at the start (needs ``num_layers``); None: nothing. With the first two the
            first layer takes 1, because content says nothing there yet (released code).
        modulate_size: multiply PE(x) by w_ref / w and PE(y) by h_ref / h, with
            (w_ref, h_ref) = σ(MLP(content)).
        num_layers: decoder layers, for ``position_scale='layer'`` only.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        anchor_dims: Literal[2, 4] = 4,
        position_scale: Literal['element', 'scalar', 'layer'] | None = 'element',
        modulate_size: bool = True,
        num_layers: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        choose(name, 'anchor_dims', anchor_dims, (2, 4))
        choose(name, 'position_scale', position_scale, ('element', 'scalar', 'layer', None))
        if modulate_size and anchor_dims == 2:
            raise ValueError(
                f'{name}: modulate_size=True needs the width and height of 4-D anchors, but anchor_dims=2: '
                'set modulate_size=False, or anchor_dims=4'
            )
        if (position_scale == 'layer') != (num_layers is not None):
            raise ValueError(
                f'{name}: num_layers={num_layers!r} with position_scale={position_scale!r}: num_layers belongs to '
                "position_scale='layer', which needs it, and to no other"
            )
        self.contract = {'embed_dims': embed_dims, 'query_kind': 'anchors', 'anchor_dims': anchor_dims}
        if num_layers is not None:
            self.contract['decoder_layers'] = num_layers
        self.embed_dims = embed_dims
        self.learned = MLP(anchor_dims // 2 * embed_dims, embed_dims, embed_dims, 2)
        self.content_scale = None
        self.layer_scale = None
        if position_scale == 'layer':
            self.layer_scale = nn.Parameter(torch.ones(num_layers, embed_dims))  # type: ignore[arg-type]
        elif position_scale is not None:
            # In the only layer there is, it would never be used.
            self.contract['several_decoder_layers'] = True
            self.content_scale = MLP(embed_dims, embed_dims, embed_dims if position_scale == 'element' else 1, 2)
        self.reference_size = MLP(embed_dims, embed_dims, 2, 2) if modulate_size else None
        if position_scale is not None or modulate_size:
            self.contract['sine_code'] = True

    def init_weights(self) -> None:
        """Xavier for the MLPs."""
        xavier_matrices(*self.children())
        super().init_weights()

    def forward(
        self, anchors: Tensor, content: Tensor, layer: int, positional_encoder: PositionalEncoder
    ) -> QueryPosition:
        """Encode the anchors for one decoder layer.

        Args:
            anchors: (B, N, anchor_dims) in 0..1.
            content: (B, N, D), the content queries of this layer.
            layer: index of the decoder layer, from 0.
            positional_encoder: gives ``boxes(anchors)``.

        Returns:
            P and the positional half of the cross-attention's query, (B, N, D) each.
        """
        code = positional_encoder.boxes(anchors)
        learned = self.learned(code.to(self.learned.layers[0].weight.dtype))
        sine = code[..., : self.embed_dims]
        if self.layer_scale is not None:
            sine = sine * self.layer_scale[layer]
        elif self.content_scale is not None and layer > 0:
            sine = sine * self.content_scale(content)
        if self.reference_size is not None:
            sine = modulate(sine, self.reference_size(content).float().sigmoid(), anchors[..., 2:])
        return QueryPosition(learned, sine)


@MODELS.register_module()
class DeformablePositionalQuery(BaseModule):
    """The positional query of DAB-Deformable-DETR: P · MLP_csq(C), without modulation.

    Args:
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        # In the only layer there is, the scale would never be used.
        self.contract = {
            'embed_dims': embed_dims,
            'query_kind': 'anchors',
            'anchor_dims': 4,
            'several_decoder_layers': True,
        }
        self.embed_dims = embed_dims
        self.learned = MLP(2 * embed_dims, embed_dims, embed_dims, 2)
        self.content_scale = MLP(embed_dims, embed_dims, embed_dims, 2)

    def init_weights(self) -> None:
        """Xavier for the MLPs."""
        xavier_matrices(*self.children())
        super().init_weights()

    def forward(
        self, anchors: Tensor, content: Tensor, layer: int, positional_encoder: PositionalEncoder
    ) -> QueryPosition:
        """Encode the anchors for one decoder layer.

        Args:
            anchors: (B, N, 4) in 0..1.
            content: (B, N, D), the content queries of this layer.
            layer: index of the decoder layer, from 0; the first takes the scale 1 (released code).
            positional_encoder: gives ``boxes(anchors)``.

        Returns:
            the scaled P, and PE(x, y) as it is, (B, N, D) each.
        """
        code = positional_encoder.boxes(anchors)
        learned = self.learned(code.to(self.learned.layers[0].weight.dtype))
        if layer > 0:
            learned = learned * self.content_scale(content)
        return QueryPosition(learned, code[..., : self.embed_dims])


@MODELS.register_module()
class LearnedPositionalQuery(nn.Module):
    """The positional query of DETR: the learned position, in both attentions."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = {'query_kind': 'learned positions'}

    def forward(
        self, position: Tensor, anchors: Tensor, content: Tensor, layer: int, positional_encoder: PositionalEncoder
    ) -> QueryPosition:
        """The same for every decoder layer.

        Args:
            position: (B, N, D), learned.
            anchors: not used.
            content: (B, N, D), the content queries of this layer; not used.
            layer: index of the decoder layer; not used.
            positional_encoder: not used; learned positions are no places in the picture.

        Returns:
            the position twice.
        """
        return QueryPosition(position, position)


@MODELS.register_module()
class ConditionalPositionalQuery(BaseModule):
    """The positional queries of Conditional DETR: the learned position, and PE(point) · MLP(C) (eq. 3 to 5 there).

    Args:
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        # In the only layer there is, the scale would never be used.
        self.contract = {
            'embed_dims': embed_dims,
            'query_kind': 'learned positions',
            'anchor_dims': 2,
            'several_decoder_layers': True,
            'sine_code': True,
        }
        self.content_scale = MLP(embed_dims, embed_dims, embed_dims, 2)

    def init_weights(self) -> None:
        """Xavier for the MLP."""
        xavier_matrices(self.content_scale)
        super().init_weights()

    def forward(
        self, position: Tensor, anchors: Tensor, content: Tensor, layer: int, positional_encoder: PositionalEncoder
    ) -> QueryPosition:
        """Encode the points for one decoder layer.

        Args:
            position: (B, N, D), learned.
            anchors: (B, N, 2) in 0..1, the points.
            content: (B, N, D), the content queries of this layer.
            layer: index of the decoder layer, from 0; the first takes the scale 1 (released code).
            positional_encoder: gives ``boxes(anchors)``.

        Returns:
            the learned position, and the scaled code of the point, (B, N, D) each.
        """
        sine = positional_encoder.boxes(anchors)
        return QueryPosition(position, sine * self.content_scale(content) if layer > 0 else sine)
