"""mmdet's own encoders, decoders and heads as parts beside ours.

mmdet's DETRs name the classes of their encoder and decoder in code. Each class here holds one of them, gives it what
flows between our parts in the words that it knows, and states what it shares with others (``contract``). So a part of
ours can stand before or behind it. The arguments of encoders and decoders are those of mmdet's class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
from mmdet.models.dense_heads import ConditionalDETRHead, DABDETRHead, DeformableDETRHead, DETRHead, DINOHead
from mmdet.models.layers import (
    ConditionalDetrTransformerDecoder,
    DeformableDetrTransformerDecoder,
    DeformableDetrTransformerEncoder,
    DetrTransformerDecoder,
    DetrTransformerEncoder,
)
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.model import BaseModule, xavier_init
from torch import Tensor, nn

from mmdet_dab.models.contracts import require
from mmdet_dab.models.layers import xavier_matrices
from mmdet_dab.models.structures import DecoderOutput, ImageTokens, Queries
from mmdet_dab.registry import MODELS


def level_arguments(tokens: ImageTokens) -> dict[str, Tensor]:
    """What mmdet's deformable classes want to know of the levels."""
    shapes = torch.tensor(tokens.shapes, device=tokens.content.device)  # (V, 2)
    starts = torch.cat((shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]))
    return dict(spatial_shapes=shapes, level_start_index=starts, valid_ratios=tokens.valid_ratios)


def adopt(state: dict[str, Tensor], theirs: str, ours: str) -> None:
    """Rename the keys that start as in mmdet's checkpoints; those that start as ours stay."""
    for key in [key for key in state if key.startswith(theirs) and not key.startswith(ours)]:
        state[ours + key.removeprefix(theirs)] = state.pop(key)


class MMDetStack(BaseModule):
    """What all of mmdet's encoders and decoders share.

    Args:
        stack: mmdet's encoder or decoder.
        contract: what it shares with other parts.
    """

    def __init__(self, stack: nn.Module, **contract: Any) -> None:
        super().__init__()
        self.stack = stack
        self.contract = {'embed_dims': stack.embed_dims, **contract}

    def init_weights(self) -> None:
        """As mmdet's detectors do: Xavier for every matrix, then deformable attention by itself."""
        super().init_weights()
        xavier_matrices(self)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.init_weights()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        adopt(state_dict, prefix, f'{prefix}stack.')
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class MMDetEncoder(MMDetStack):
    """mmdet's ``DetrTransformerEncoder`` (DETR, Conditional DETR), for one feature level."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(DetrTransformerEncoder(**kwargs), feature_levels=1)

    def forward(self, tokens: ImageTokens) -> ImageTokens:
        """Encode: the same tokens with new content."""
        content = self.stack(query=tokens.content, query_pos=tokens.position, key_padding_mask=tokens.padding)
        return replace(tokens, content=content)


@MODELS.register_module()
class MMDetDeformableEncoder(MMDetStack):
    """mmdet's ``DeformableDetrTransformerEncoder`` (Deformable DETR, DINO)."""

    def __init__(self, **kwargs: Any) -> None:
        encoder = DeformableDetrTransformerEncoder(**kwargs)
        super().__init__(encoder, feature_levels=encoder.layers[0].self_attn.num_levels)

    def forward(self, tokens: ImageTokens) -> ImageTokens:
        """Encode: the same tokens with new content."""
        content = self.stack(
            query=tokens.content,
            query_pos=tokens.position,
            key_padding_mask=tokens.padding,
            **level_arguments(tokens),
        )
        return replace(tokens, content=content)


@MODELS.register_module()
class MMDetDecoder(MMDetStack):
    """mmdet's ``DetrTransformerDecoder``: learned positions, and boxes measured from nothing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(DetrTransformerDecoder(**kwargs), query_kind='learned positions', anchor_dims=0)

    def forward(self, queries: Queries, tokens: ImageTokens, *unused: Any) -> DecoderOutput:
        """Decode; mmdet's decoder needs neither our positional encoder nor the head's box branch."""
        states = self.stack(
            query=queries.content,
            key=tokens.content,
            value=tokens.content,
            query_pos=queries.position,
            key_pos=tokens.position,
            key_padding_mask=tokens.padding,
        )
        return DecoderOutput(states, states.new_zeros(*states.shape[:3], 0), queries)


@MODELS.register_module()
class MMDetConditionalDecoder(MMDetStack):
    """mmdet's ``ConditionalDetrTransformerDecoder``: it predicts a point from each learned position itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(ConditionalDetrTransformerDecoder(**kwargs), query_kind='learned positions', anchor_dims=0)
        self.provides = {'anchor_dims': 2}

    def forward(self, queries: Queries, tokens: ImageTokens, *unused: Any) -> DecoderOutput:
        """Decode; mmdet's decoder needs neither our positional encoder nor the head's box branch."""
        states, points = self.stack(
            query=queries.content,
            key=tokens.content,
            query_pos=queries.position,
            key_pos=tokens.position,
            key_padding_mask=tokens.padding,
        )
        return DecoderOutput(states, points.expand(len(states), -1, -1, -1), queries)


@MODELS.register_module()
class MMDetDeformableDecoder(MMDetStack):
    """mmdet's ``DeformableDetrTransformerDecoder`` without refinement: points that stay."""

    def __init__(self, **kwargs: Any) -> None:
        name, every_layer = type(self).__name__, kwargs.get('return_intermediate', True)
        require(name, 'return_intermediate', every_layer, every_layer, 'True: the head answers for every layer')
        decoder = DeformableDetrTransformerDecoder(**kwargs)
        levels = decoder.layers[0].cross_attn.num_levels
        super().__init__(decoder, query_kind='learned positions', anchor_dims=2, feature_levels=levels)

    def forward(self, queries: Queries, tokens: ImageTokens, *unused: Any) -> DecoderOutput:
        """Decode; mmdet's decoder needs neither our positional encoder nor the head's box branch."""
        states, points = self.stack(
            query=queries.content,
            query_pos=queries.position,
            value=tokens.content,
            key_padding_mask=tokens.padding,
            reference_points=queries.anchors,
            **level_arguments(tokens),
        )
        return DecoderOutput(states, points, queries)


@MODELS.register_module()
class MMDetPointQueryGenerator(BaseModule):
    """The queries of mmdet's ``DeformableDETR``: learned content and position, a point linear in the position.

    Args:
        num_queries: N.
        embed_dims: width D.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(self, num_queries: int = 300, embed_dims: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        require(type(self).__name__, 'num_queries', num_queries, num_queries >= 1, 'at least 1')
        self.contract = {'embed_dims': embed_dims, 'query_kind': 'learned positions', 'anchor_dims': 2}
        self.query_embedding = nn.Embedding(num_queries, 2 * embed_dims)
        self.reference_points_fc = nn.Linear(embed_dims, 2)

    def init_weights(self) -> None:
        """Xavier for the points."""
        xavier_init(self.reference_points_fc, distribution='uniform', bias=0.0)
        super().init_weights()

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch: content and position (B, N, D) and anchors (B, N, 2)."""
        weight = self.query_embedding.weight.expand(tokens.content.size(0), -1, -1)
        position, content = weight.chunk(2, dim=-1)
        return Queries(content, self.reference_points_fc(position).sigmoid(), position)


@MODELS.register_module()
class MMDetHead(BaseModule):
    """A head of mmdet's DETRs: its branches, its losses, its assigner.

    Args:
        head: config of ``DETRHead``, ``ConditionalDETRHead``, ``DABDETRHead`` or ``DeformableDETRHead`` (of one
            stage), or of a class derived from one of them that takes the same decoder output.
        init_cfg: see mmengine's BaseModule.

    Raises:
        ValueError: the head is none of them.
    """

    def __init__(self, head: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.head = MODELS.build(head)
        # What is derived from DINO's head asks for the queries of a first stage.
        fits = isinstance(self.head, DETRHead) and not isinstance(self.head, DINOHead)
        wanted = 'DETRHead, ConditionalDETRHead, DABDETRHead or DeformableDETRHead, or derived from one of them'
        require(type(self).__name__, 'head', type(self.head).__name__, fits, wanted)
        self.num_classes = self.head.num_classes
        self.contract: dict[str, Any] = {
            'embed_dims': self.head.embed_dims,
            'num_classes': self.num_classes,
            'class_scores': 'sigmoid' if self.head.loss_cls.use_sigmoid else 'softmax',
            'denoising_losses': False,
        }
        if isinstance(self.head, DABDETRHead):
            self.contract['query_kind'] = 'anchors'
        elif isinstance(self.head, DeformableDETRHead):
            self.contract |= {'decoder_layers': len(self.head.reg_branches), 'anchor_dims': (2, 4)}
        else:
            self.contract['query_kind'] = 'learned positions'
            self.contract['anchor_dims'] = 2 if isinstance(self.head, ConditionalDETRHead) else 0
        assigner = getattr(self.head, 'assigner', None)
        self.parts = {} if assigner is None else {'assigner': assigner}

    @property
    def class_tensors(self) -> list[str]:
        """Names of the parameters with a row for every class; fine-tuning on other classes selects their rows."""
        names = (name for name, _ in self.named_parameters(remove_duplicate=False))  # layers may share a branch
        return [name for name in names if name.startswith(('head.fc_cls', 'head.cls_branches'))]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        adopt(state_dict, prefix, f'{prefix}head.')
        super()._load_from_state_dict(state_dict, prefix, *args)

    def box_offset(self, content: Tensor, layer: int) -> Tensor:
        """ΔA of one layer: (B, N, D) -> (B, N, 4), by the branch with which the head predicts boxes.

        Raises:
            ValueError: the head has no such branch, because it measures boxes from nothing or from points that stay.
        """
        if isinstance(self.head, DABDETRHead):
            return self.head.fc_reg(content)
        if isinstance(self.head, DeformableDETRHead):
            return self.head.reg_branches[layer](content)
        raise ValueError(
            f'{type(self.head).__name__} moves no anchors: take DABDETRHead or mmdet_dab.SetPredictionHead'
        )

    def _inputs(self, output: DecoderOutput) -> tuple[Any, ...]:
        """The decoder's output as the head takes it."""
        if isinstance(self.head, DABDETRHead):
            return output.states, output.references
        if isinstance(self.head, ConditionalDETRHead):
            return output.states, output.references[0]
        if isinstance(self.head, DeformableDETRHead):
            return output.states, list(output.references)
        return (output.states,)

    def forward(self, output: DecoderOutput) -> tuple[Tensor, Tensor]:
        """Logits (L, B, N, C), with one more for background in a softmax, and boxes (L, B, N, 4) cx cy w h in 0..1."""
        return self.head(*self._inputs(output))

    def loss(self, output: DecoderOutput, data_samples: SampleList) -> dict[str, Tensor]:
        """The losses of mmdet's head by name."""
        stage = (None, None) if isinstance(self.head, DeformableDETRHead) else ()  # nothing of a first stage
        return self.head.loss(*self._inputs(output), *stage, batch_data_samples=data_samples)

    def predict(self, output: DecoderOutput, data_samples: SampleList, rescale: bool = True) -> InstanceList:
        """The predictions of mmdet's head."""
        found = self.head.predict(*self._inputs(output), batch_data_samples=data_samples, rescale=rescale)
        return cast(InstanceList, found)
