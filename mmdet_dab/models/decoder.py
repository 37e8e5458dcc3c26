"""The loop over decoder layers: queries are anchors, and move layer by layer (paper, figure 5).

Queries with learned positions (DETR, Conditional DETR) pass the same loop: their positions stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.structures import AnchorStep, DecoderOutput, ImageTokens, PositionalEncoder, Queries
from mmdet_dab.registry import MODELS


def merged(base: Mapping, override: Mapping) -> dict:
    """``base`` with ``override`` merged into it, dict by dict; neither is changed.

    A dict of ``override`` that names a ``type`` is meant for that type: it is left out where
    ``base`` has another one there, so that a part of your own is not handed the arguments of ours.
    """
    result = dict(base)
    for key, value in override.items():
        if not (isinstance(value, Mapping) and isinstance(result.get(key), Mapping)):
            result[key] = value
        elif value.get('type', result[key].get('type')) == result[key].get('type'):
            result[key] = merged(result[key], value)
    return result


@MODELS.register_module()
class CanvasFrame(nn.Module):
    """Anchors in parts of the padded canvas, as the released DAB-Deformable-DETR encodes them.

    A query's position then depends on the size of the other images in its batch.
    """

    def forward(self, anchors: Tensor, tokens: ImageTokens) -> Tensor:
        """(B, N, 4 or 2) in parts of the images -> in parts of the canvas of the first level."""
        return tokens.on_canvas(anchors)[:, :, 0]


@MODELS.register_module(name=['TransformerDecoder', 'AnchorDecoder', 'QueryDecoder'])
class TransformerDecoder(BaseModule):
    """A stack of decoder layers over queries: 4-D anchors, points, or learned positions.

    ``AnchorDecoder`` and ``QueryDecoder`` are former names of the same.

    Args:
        layer: config of a layer.
        positional_query: config of the part that makes positional queries of anchors, learned
            positions and content (``positional_query.py``).
        num_layers: L.
        first_layer: what differs in the first layer, merged into ``layer`` (see :func:`merged`).
        anchor_update: config of the part that moves the anchors after a layer
            (``anchor_update.py``); None: they stay.
        anchor_frame: config of the part that says in which frame anchors are encoded, such as
            :class:`CanvasFrame`; None: in parts of the image, so that a query's position does not
            depend on the other images of the batch.
        embed_dims: width D.
        final_norm: norm the content that goes to the head, once more than the layers do (DETR).
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        layer: dict,
        positional_query: dict,
        num_layers: int = 6,
        first_layer: dict | None = None,
        anchor_update: dict | None = None,
        anchor_frame: dict | None = None,
        embed_dims: int = 256,
        final_norm: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        require(type(self).__name__, 'num_layers', num_layers, num_layers >= 1, 'at least 1')
        self.contract = Contract(embed_dims=embed_dims, num_layers=num_layers, several_layers=num_layers > 1)
        configs = [merged(layer, first_layer or {})] + [layer] * (num_layers - 1)
        self.layers = ModuleList(MODELS.build(config) for config in configs)
        self.positional_query = MODELS.build(positional_query)
        self.norm = nn.LayerNorm(embed_dims) if final_norm else nn.Identity()
        self.anchor_update = None if anchor_update is None else MODELS.build(anchor_update)
        self.anchor_frame = None if anchor_frame is None else MODELS.build(anchor_frame)

    def forward(
        self,
        queries: Queries,
        tokens: ImageTokens,
        positional_encoder: PositionalEncoder,
        box_offset: Callable[[Tensor, int], Tensor],
    ) -> DecoderOutput:
        """Decode.

        Args:
            queries: content (B, N, D), and anchors (B, N, 4 or 2) or positions (B, N, D).
            tokens: the encoded image.
            positional_encoder: encodes the anchors as it encoded the cells.
            box_offset: (content (B, N, D), layer) -> ΔA (B, N, 4), the head's box branch.

        Returns:
            states and references of every layer.
        """
        content = queries.content
        # Queries without anchors have boxes of which no coordinate is measured from a reference.
        start = content.new_zeros(*content.shape[:2], 0) if queries.anchors is None else queries.anchors
        step = AnchorStep(start, start)
        states, references = [], []
        for index, layer in enumerate(self.layers):
            position = self.positional_query(
                self._as_encoded(queries, content, step, tokens), index, positional_encoder
            )
            content = layer(content, position, step.anchors, tokens, queries.attention_mask)
            states.append(self.norm(content))
            references.append(step.reference)
            # The last layer's update would be used by nobody.
            if self.anchor_update is not None and index < len(self.layers) - 1:
                step = self.anchor_update(step.anchors, box_offset(content, index))
        return DecoderOutput(torch.stack(states), torch.stack(references), queries)

    def _as_encoded(self, queries: Queries, content: Tensor, step: AnchorStep, tokens: ImageTokens) -> Queries:
        """The queries of one layer, for the part that encodes their positions."""
        if queries.anchors is None:
            return replace(queries, content=content)
        anchors = step.anchors if self.anchor_frame is None else self.anchor_frame(step.anchors, tokens)
        return replace(queries, content=content, anchors=anchors)
