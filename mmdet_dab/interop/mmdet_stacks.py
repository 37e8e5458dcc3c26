"""mmdet's own encoders and decoders as parts beside ours.

mmdet's DETRs name the classes of their encoder and decoder in code. Each class here holds one of
them, gives it what flows between our parts in the words that it knows, and states its contract. So
a part of ours can stand before or behind it. The arguments are those of mmdet's class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any

import torch
from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
from mmdet.models.layers import (
    ConditionalDetrTransformerDecoder,
    DABDetrTransformerDecoder,
    DABDetrTransformerEncoder,
    DeformableDetrTransformerDecoder,
    DeformableDetrTransformerEncoder,
    DetrTransformerDecoder,
    DetrTransformerEncoder,
)
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import RenamedTensors, inverse_sigmoid, xavier_matrices
from mmdet_dab.models.structures import DecoderOutput, ImageTokens, PositionalEncoder, Queries
from mmdet_dab.registry import MODELS

#: Clamp of σ⁻¹ of anchors that go to mmdet's decoder, which takes the sigmoid of them at once.
EPS = 1e-7


def level_arguments(tokens: ImageTokens) -> dict[str, Tensor]:
    """What mmdet's deformable classes want to know of the levels."""
    shapes = torch.tensor(tokens.shapes, device=tokens.content.device)  # (V, 2)
    starts = torch.cat((shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]))
    return dict(spatial_shapes=shapes, level_start_index=starts, valid_ratios=tokens.valid_ratios)


class MMDetStack(RenamedTensors, BaseModule):
    """What all of mmdet's encoders and decoders share.

    Args:
        stack: mmdet's encoder or decoder.
        facts: of its contract.
    """

    renamed_tensors = MappingProxyType({'': 'stack.'})
    level_arguments = staticmethod(level_arguments)

    def __init__(self, stack: Any, **facts: Any) -> None:
        super().__init__()
        self.stack = stack
        self.contract = Contract(embed_dims=stack.embed_dims, **facts)

    def init_weights(self) -> None:
        """As mmdet's detectors do: Xavier for every matrix, then deformable attention by itself."""
        super().init_weights()
        xavier_matrices(self)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.init_weights()


@MODELS.register_module()
class MMDetEncoder(MMDetStack):
    """mmdet's ``DetrTransformerEncoder`` (DETR, Conditional DETR), for one feature level."""

    stack_type: type[nn.Module] = DetrTransformerEncoder

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(self.stack_type(**kwargs), levels=1)

    def forward(self, tokens: ImageTokens) -> ImageTokens:
        """Encode: the same tokens with new content."""
        content = self.stack(query=tokens.content, query_pos=tokens.position, key_padding_mask=tokens.padding)
        return replace(tokens, content=content)


@MODELS.register_module()
class MMDetDABEncoder(MMDetEncoder):
    """mmdet's ``DABDetrTransformerEncoder``: positions times MLP(content), for one feature level."""

    stack_type = DABDetrTransformerEncoder


@MODELS.register_module()
class MMDetDeformableEncoder(MMDetStack):
    """mmdet's ``DeformableDetrTransformerEncoder`` (Deformable DETR, DINO)."""

    def __init__(self, **kwargs: Any) -> None:
        encoder = DeformableDetrTransformerEncoder(**kwargs)
        super().__init__(encoder, levels=encoder.layers[0].self_attn.num_levels)

    def forward(self, tokens: ImageTokens) -> ImageTokens:
        """Encode: the same tokens with new content."""
        content = self.stack(
            query=tokens.content,
            query_pos=tokens.position,
            key_padding_mask=tokens.padding,
            **self.level_arguments(tokens),
        )
        return replace(tokens, content=content)


@MODELS.register_module()
class MMDetDecoder(MMDetStack):
    """mmdet's ``DetrTransformerDecoder``: learned positions, and boxes measured from nothing."""

    stack_type: type[nn.Module] = DetrTransformerDecoder
    #: What the decoder's answers are measured from, where it is something.
    gives: Contract | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(self.stack_type(**kwargs), query_kind='learned positions', anchor_dims=0, gives=self.gives)

    def forward(self, queries: Queries, tokens: ImageTokens, *unused: Any) -> DecoderOutput:
        """Decode; mmdet's decoder needs neither our positional encoder nor the head's box
        branch."""
        states, references = self.decode(
            query=queries.content,
            key=tokens.content,
            query_pos=queries.position,
            key_pos=tokens.position,
            key_padding_mask=tokens.padding,
        )
        return DecoderOutput(states, references, queries)

    def decode(self, **arguments: Any) -> tuple[Tensor, Tensor]:
        """States (L, B, N, D), and references (L, B, N, 0)."""
        states = self.stack(value=arguments['key'], **arguments)
        return states, states.new_zeros(*states.shape[:3], 0)


@MODELS.register_module()
class MMDetConditionalDecoder(MMDetDecoder):
    """mmdet's ``ConditionalDetrTransformerDecoder``: it predicts a point from each learned position
    itself."""

    stack_type = ConditionalDetrTransformerDecoder
    gives = Contract(anchor_dims=2)

    def decode(self, **arguments: Any) -> tuple[Tensor, Tensor]:
        """States (L, B, N, D), and the points (L, B, N, 2)."""
        states, points = self.stack(**arguments)
        return states, points.expand(len(states), -1, -1, -1)


@MODELS.register_module()
class MMDetDeformableDecoder(MMDetStack):
    """mmdet's ``DeformableDetrTransformerDecoder`` without refinement: points that stay."""

    def __init__(self, **kwargs: Any) -> None:
        name, every_layer = type(self).__name__, kwargs.get('return_intermediate', True)
        require(name, 'return_intermediate', every_layer, every_layer, 'True: the head answers for every layer')
        decoder = DeformableDetrTransformerDecoder(**kwargs)
        levels = decoder.layers[0].cross_attn.num_levels
        super().__init__(decoder, query_kind='learned positions', anchor_dims=2, levels=levels)

    def forward(self, queries: Queries, tokens: ImageTokens, *unused: Any) -> DecoderOutput:
        """Decode; mmdet's decoder needs neither our positional encoder nor the head's box
        branch."""
        states, points = self.stack(
            query=queries.content,
            query_pos=queries.position,
            value=tokens.content,
            key_padding_mask=tokens.padding,
            reference_points=queries.anchors,
            **self.level_arguments(tokens),
        )
        return DecoderOutput(states, points, queries)


@MODELS.register_module()
class MMDetDABDecoder(MMDetStack):
    """mmdet's ``DABDetrTransformerDecoder``: anchors that move by the head's box branches.

    Raises:
        ValueError: it is to answer for the last layer only, or points are to modulate by a size.
    """

    def __init__(self, **kwargs: Any) -> None:
        name, every_layer = type(self).__name__, kwargs.get('return_intermediate', True)
        require(name, 'return_intermediate', every_layer, every_layer, 'True: the head answers for every layer')
        decoder = DABDetrTransformerDecoder(**kwargs)
        modulated = decoder.with_modulated_hw_attn
        fits = not modulated or decoder.query_dim == 4
        require(name, 'with_modulated_hw_attn', modulated, fits, 'False where query_dim=2: points have no size')
        super().__init__(decoder, query_kind='anchors', anchor_dims=decoder.query_dim, num_layers=len(decoder.layers))

    def forward(
        self,
        queries: Queries,
        tokens: ImageTokens,
        positional_encoder: PositionalEncoder,
        box_offset: Callable[[Tensor, int], Tensor],
    ) -> DecoderOutput:
        """Decode; mmdet's decoder encodes anchors by itself, and takes them before the sigmoid.

        Raises:
            ValueError: the queries have no anchors.
        """
        anchors, mask = queries.required('anchors', self), queries.attention_mask
        if mask is not None and mask.dim() == 4:  # (B, 1, N, N), of every image -> (B·heads, N, N)
            mask = mask.expand(-1, self.stack.layers[0].self_attn.num_heads, -1, -1).flatten(0, 1)
        layers = count()  # mmdet's decoder asks for the offsets of one layer after the other
        states, references = self.stack(
            query=queries.content,
            key=tokens.content,
            query_pos=inverse_sigmoid(anchors, EPS),
            key_pos=tokens.position,
            key_padding_mask=tokens.padding,
            reg_branches=lambda content: box_offset(content, next(layers)),
            self_attn_masks=mask,
        )
        return DecoderOutput(states, references, queries)
