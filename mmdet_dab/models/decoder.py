"""The loop over decoder layers: anchors are queries, and move layer by layer (paper, figure 5).

Queries with learned positions (DETR, Conditional DETR) have a loop of their own: their positions stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmdet_dab.models.structures import DecoderOutput, ImageTokens, PositionalEncoder, Queries
from mmdet_dab.registry import MODELS


def merged(base: Mapping, override: Mapping) -> dict:
    """``base`` with ``override`` merged into it, dict by dict; neither is changed.

    A dict of ``override`` that names a ``type`` is meant for that type: it is left out where ``base``
    has another one there, so that a part of a user's own is not handed the arguments of ours.
    """
    result = dict(base)
    for key, value in override.items():
        if not (isinstance(value, Mapping) and isinstance(result.get(key), Mapping)):
            result[key] = value
        elif value.get('type', result[key].get('type')) == result[key].get('type'):
            result[key] = merged(result[key], value)
    return result


class DecoderStack(BaseModule):
    """What all decoders share: layers, the part that makes positional queries, the norm before the head.

    Args:
        query_kind: what the queries must have, ``'anchors'`` or ``'learned positions'``.
        num_layers, layer, positional_query, first_layer, embed_dims, final_norm, init_cfg: see the decoders.
    """

    def __init__(
        self,
        query_kind: str,
        num_layers: int,
        layer: dict,
        positional_query: dict,
        first_layer: dict | None,
        embed_dims: int,
        final_norm: bool,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(f'{type(self).__name__}: num_layers={num_layers} must be at least 1')
        self.contract = {
            'embed_dims': embed_dims,
            'query_kind': query_kind,
            'decoder_layers': num_layers,
            'several_decoder_layers': num_layers > 1,
        }
        configs = [merged(layer, first_layer or {})] + [layer] * (num_layers - 1)
        self.layers = ModuleList(MODELS.build(config) for config in configs)
        self.positional_query = MODELS.build(positional_query)
        self.norm = nn.LayerNorm(embed_dims) if final_norm else nn.Identity()


@MODELS.register_module()
class QueryDecoder(DecoderStack):
    """A stack of decoder layers over queries whose positions are learned and stay (DETR, Conditional DETR).

    Args:
        num_layers: L.
        layer: config of a layer.
        positional_query: config of the part that turns learned positions, anchors and content into positional
            queries.
        first_layer: what differs in the first layer, merged into ``layer`` (see :func:`merged`).
        embed_dims: width D.
        final_norm: norm the content that goes to the head, once more than the layers do (DETR).
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        num_layers: int,
        layer: dict,
        positional_query: dict,
        first_layer: dict | None = None,
        embed_dims: int = 256,
        final_norm: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            'learned positions', num_layers, layer, positional_query, first_layer, embed_dims, final_norm, init_cfg
        )

    def forward(
        self,
        queries: Queries,
        tokens: ImageTokens,
        positional_encoder: PositionalEncoder,
        box_offset: Callable[[Tensor, int], Tensor],
    ) -> DecoderOutput:
        """Decode.

        Args:
            queries: content and position (B, N, D), and anchors (B, N, 2 or 4) if they have any.
            tokens: the encoded picture.
            positional_encoder: encodes the anchors as it encoded the cells.
            box_offset: not needed here; anchors that move are moved by it.

        Returns:
            states of every layer, and references: the anchors, the same for every layer.

        Raises:
            ValueError: the queries have no positions.
        """
        if queries.position is None:
            raise ValueError(f'{type(self).__name__} needs queries with positions, but the query generator gave none')
        content = queries.content
        anchors = content.new_zeros(*content.shape[:2], 0) if queries.anchors is None else queries.anchors
        states = []
        for index, layer in enumerate(self.layers):
            position = self.positional_query(queries.position, anchors, content, index, positional_encoder)
            content = layer(content, position, anchors, tokens, queries.attention_mask)
            states.append(self.norm(content))
        return DecoderOutput(torch.stack(states), anchors.expand(len(states), -1, -1, -1), queries)


@MODELS.register_module()
class AnchorDecoder(DecoderStack):
    """A stack of decoder layers over 4-D (or 2-D) anchors.

    Args:
        num_layers: L.
        layer: config of a layer.
        positional_query: config of the part that turns anchors and content into positional queries.
        anchor_update: config of the part that moves the anchors after a layer; None keeps them.
        first_layer: what differs in the first layer, merged into ``layer`` (see :func:`merged`).
        embed_dims: width D.
        final_norm: norm the content that goes to the head, once more than the layers do (DETR).
        look_forward_twice: measure a layer's boxes from the anchor with gradient, so that their loss also
            trains the update before (released DAB-DETR; the name is DINO's); False measures them from the
            detached one (Deformable DETR).
        positions_on_canvas: encode the anchors in parts of the padded canvas, as the released
            DAB-Deformable-DETR does. By default they are encoded in parts of the picture, so that a
            query's position does not depend on the size of the other pictures in the batch.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        num_layers: int,
        layer: dict,
        positional_query: dict,
        anchor_update: dict | None,
        first_layer: dict | None = None,
        embed_dims: int = 256,
        final_norm: bool = True,
        look_forward_twice: bool = True,
        positions_on_canvas: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__('anchors', num_layers, layer, positional_query, first_layer, embed_dims, final_norm, init_cfg)
        self.anchor_update = None if anchor_update is None else MODELS.build(anchor_update)
        self.look_forward_twice = look_forward_twice
        self.positions_on_canvas = positions_on_canvas

    def forward(
        self,
        queries: Queries,
        tokens: ImageTokens,
        positional_encoder: PositionalEncoder,
        box_offset: Callable[[Tensor, int], Tensor],
    ) -> DecoderOutput:
        """Decode.

        Args:
            queries: content (B, N, D) and anchors (B, N, 4 or 2).
            tokens: the encoded picture.
            positional_encoder: encodes the anchors as it encoded the cells.
            box_offset: (content (B, N, D), layer) -> ΔA (B, N, 4), the head's box branch.

        Returns:
            states and references of every layer.

        Raises:
            ValueError: the queries have no anchors.
        """
        if queries.anchors is None:
            raise ValueError(f'{type(self).__name__} needs queries with anchors, but the query generator gave none')
        content, anchors = queries.content, queries.anchors
        reference = anchors
        states, references = [], []
        for index, layer in enumerate(self.layers):
            encoded = tokens.on_canvas(anchors)[:, :, 0] if self.positions_on_canvas else anchors
            position = self.positional_query(encoded, content, index, positional_encoder)
            content = layer(content, position, anchors, tokens, queries.attention_mask)
            states.append(self.norm(content))
            references.append(reference)
            # The last layer's update would be used by nobody.
            if self.anchor_update is not None and index < len(self.layers) - 1:
                # The next layer looks from the detached anchor; the head may measure from the one with gradient.
                updated = self.anchor_update(anchors, box_offset(content, index))
                anchors = updated.detach()
                reference = updated if self.look_forward_twice else anchors
        return DecoderOutput(torch.stack(states), torch.stack(references), queries)
