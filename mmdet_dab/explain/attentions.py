"""The attentions that can be recorded, and how each of them is read.

A reader is given one call of an attention: queries, keys and values as they enter it. What is
recorded is computed from these, once more, for the chosen queries only. Attentions of ours, of
mmdet, mmcv and PyTorch are read; of a class of your own, where it is derived from one of these and
calls its method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.layers.transformer.utils import ConditionalAttention
from torch import Tensor, nn

from mmdet_dab.explain.tap import Call
from mmdet_dab.models.attention import ConditionalCrossAttention, MultiHeadAttention, project
from mmdet_dab.models.compatibility import contract_of
from mmdet_dab.models.deformable_attention import DeformableAttention


@dataclass(frozen=True)
class DotAttention:
    """Attention by scaled dot products of n queries with S keys, of H heads; float32, on the CPU.

    Attributes:
        logits: (H, n, S), scaled dot products before the mask.
        weights: (H, n, S), softmax of logits + mask; rows sum to 1.
        content: (H, n, S), the content part of the logits, and
        position: (H, n, S), their position part: content + position = logits. None for attentions
            whose logits do not split in two, which are all but conditional cross-attention.
        mask: broadcast to (H, n, S), added to the logits, −∞ where a query must not look; None:
            nothing is hidden.
        value: (H, S, E).
        output: (n, D), what the attention gave, after its output projection.
    """

    logits: Tensor
    weights: Tensor
    content: Tensor | None
    position: Tensor | None
    mask: Tensor | None
    value: Tensor
    output: Tensor


@dataclass(frozen=True)
class PointAttention:
    """Deformable attention: n queries, H heads, P points on each of V levels; float32, on the CPU.

    Attributes:
        points: (n, H, V, P, 2) x y in parts of the image (beyond 0..1: outside of it).
        weights: (n, H, V, P); those of a head sum to 1.
        value: (S, H, E), 0 on padding.
        output: (n, D), what the attention gave, after its output projection.
    """

    points: Tensor
    weights: Tensor
    value: Tensor
    output: Tensor


class Dot(NamedTuple):
    """A call of dot-product attention, of the whole batch.

    Attributes:
        query, key: (B, H, N, E) and (B, H, S, E).
        value: (B, H, S, D/H).
        mask: broadcast to (B, H, N, S), bool (True: hidden) or added to the logits, or None.
        output: (B, N, D).
        halves: the first half of E is content, the second position.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    output: Tensor
    halves: bool = False

    def read(self, image: int, rows: Tensor, valid_ratios: Tensor) -> DotAttention:
        """What image ``image`` of the batch has for the queries ``rows``, (n,) long."""
        query, key = self.query[image][:, rows].float(), self.key[image].float()
        scale = 1 / math.sqrt(query.size(-1))
        logits = query @ key.mT * scale
        content = position = None
        if self.halves:
            of_query, of_key = query.chunk(2, dim=-1), key.chunk(2, dim=-1)
            content, position = (half @ other.mT * scale for half, other in zip(of_query, of_key, strict=True))
        mask = None
        if self.mask is not None:
            mask = self.mask.expand(len(self.query), *self.mask.shape[1:])[image]
            mask = mask[:, rows] if mask.size(1) > 1 else mask
            mask = torch.zeros(mask.shape).masked_fill(mask.cpu(), -torch.inf) if mask.dtype == torch.bool else mask
        weights = (logits if mask is None else logits + mask.to(logits)).softmax(-1)
        output = self.output[image][rows]
        return DotAttention(
            logits=_kept(logits),
            weights=_kept(weights),
            content=None if content is None else _kept(content),
            position=None if position is None else _kept(position),
            mask=None if mask is None else _kept(mask),
            value=_kept(self.value[image]),
            output=_kept(output),
        )


def _kept(tensor: Tensor) -> Tensor:
    return tensor.float().cpu()


class Points(NamedTuple):
    """A call of deformable attention, of the whole batch.

    Attributes:
        locations: (B, N, H, V, P, 2) x y in parts of each padded level.
        weights: (B, N, H, V, P).
        value: (B, S, H, E), 0 on padding.
        output: (B, N, D).
    """

    locations: Tensor
    weights: Tensor
    value: Tensor
    output: Tensor

    def read(self, image: int, rows: Tensor, valid_ratios: Tensor) -> PointAttention:
        """What image ``image`` of the batch has for the queries ``rows``, (n,) long.

        ``valid_ratios`` (V, 2) are those of the image.
        """
        points = self.locations[image][rows] / valid_ratios[:, None]  # (V, 1, 2)
        of_image = (points, self.weights[image][rows], self.value[image], self.output[image][rows])
        return PointAttention(*map(_kept, of_image))


# --- Readers: (attention, one call of its method) -> Dot or Points


def read_ours(module: MultiHeadAttention, call: Call) -> Dot:
    """``MultiHeadAttention.attend(query, key, value, mask)``."""
    names = ('query', 'key', 'value', 'mask')
    query, key, value, mask = (call.argument(index, name) for index, name in enumerate(names))
    if mask is not None:  # (N, N) or (B, 1, N, S) -> 4 dimensions
        mask = mask[(None,) * (4 - mask.dim())]
    return Dot(query, key, value, mask, call.result, isinstance(module, ConditionalCrossAttention))


def read_conditional_of_mmdet(module: ConditionalAttention, call: Call) -> Dot:
    """``ConditionalAttention.forward_attn(query, key, value, attn_mask, key_padding_mask)``."""
    names = ('query', 'key', 'value', 'attn_mask', 'key_padding_mask')
    query, key, value, mask, padding = (call.argument(index, name) for index, name in enumerate(names))
    query, key, value = (_split(x, module.num_heads) for x in (query, key, value))
    return Dot(query, key, value, _masks(mask, padding, query), call.result[0], module.cross_attn)


def read_pytorch(module: nn.MultiheadAttention, call: Call) -> Dot:
    """``nn.MultiheadAttention.forward`` with one width for all, as DETRs use it."""
    placed = [call.argument(index, name) for index, name in enumerate(('query', 'key', 'value'))]
    output = call.result[0]
    if not module.batch_first:
        placed, output = [x.transpose(0, 1) for x in placed], output.transpose(0, 1)
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    matrices = module.in_proj_weight.chunk(3)
    query, key, value = (
        _split(F.linear(x, matrix, bias), module.num_heads)
        for x, matrix, bias in zip(placed, matrices, biases, strict=True)
    )
    mask, padding = call.argument(5, 'attn_mask'), call.argument(3, 'key_padding_mask')
    return Dot(query, key, value, _masks(mask, padding, query), output)


def _split(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, H·E) -> (B, H, N, E)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _masks(mask: Tensor | None, padding: Tensor | None, query: Tensor) -> Tensor | None:
    """One mask of mmdet's two: (N, S) or (B·H, N, S), and (B, S) True on padding; bool both."""
    if mask is not None:
        mask = mask[None, None] if mask.dim() == 2 else mask.unflatten(0, (len(query), -1))
    padding = None if padding is None else padding[:, None, None].bool()
    if mask is None or padding is None:
        return padding if mask is None else mask
    return mask | padding if mask.dtype == torch.bool else mask.masked_fill(padding, -torch.inf)


def read_our_points(module: DeformableAttention, call: Call) -> Points:
    """``DeformableAttention.look(query, content, tokens, centers, unit)``."""
    names = ('query', 'content', 'tokens', 'centers', 'unit')
    query, content, tokens, centers, unit = (call.argument(index, name) for index, name in enumerate(names))
    per_head = (module.num_heads, module.num_levels, module.num_points)
    offsets = project(module.sampling_offsets, query).float().unflatten(-1, (*per_head, 2))
    weights = project(module.attention_weights, query).float().unflatten(-1, (module.num_heads, -1)).softmax(-1)
    value = module.value(content)
    if tokens.padding is not None:
        value = value.masked_fill(tokens.padding[..., None], 0)
    return Points(
        centers[:, :, None, :, None] + offsets * unit[:, :, None, :, None],
        weights.unflatten(-1, per_head[1:]),
        value.unflatten(-1, (module.num_heads, -1)),
        call.result,
    )


def read_points_of_mmcv(module: MultiScaleDeformableAttention, call: Call) -> Points:
    """``MultiScaleDeformableAttention.forward``, batch first, as mmdet uses it."""
    query, value, identity = call.argument(0, 'query'), call.argument(2, 'value'), call.argument(3, 'identity')
    identity = query if identity is None else identity
    value = module.value_proj(query if value is None else value)
    position, padding = call.argument(4, 'query_pos'), call.argument(5, 'key_padding_mask')
    centers, shapes = call.argument(6, 'reference_points'), call.argument(7, 'spatial_shapes')
    query = query if position is None else query + position
    if padding is not None:
        value = value.masked_fill(padding[..., None], 0)
    per_head = (module.num_heads, module.num_levels, module.num_points)
    offsets = module.sampling_offsets(query).unflatten(-1, (*per_head, 2))
    if centers.size(-1) == 2:  # an offset of 1 is a cell
        unit = (1 / shapes.flip(-1).float())[None, None]
    else:  # an offset of P reaches the border of the box
        unit = centers[..., 2:] / (2 * module.num_points)
    return Points(
        centers[:, :, None, :, None, :2] + offsets * unit[:, :, None, :, None],
        module.attention_weights(query).unflatten(-1, (module.num_heads, -1)).softmax(-1).unflatten(-1, per_head[1:]),
        value.unflatten(-1, (module.num_heads, -1)),
        call.result - identity,
    )


#: Attention -> the method that is listened to, and its reader.
READERS: Sequence[tuple[type, str, Callable[[Any, Call], Dot | Points]]] = (
    (MultiHeadAttention, 'attend', read_ours),
    (DeformableAttention, 'look', read_our_points),
    (ConditionalAttention, 'forward_attn', read_conditional_of_mmdet),
    (MultiScaleDeformableAttention, 'forward', read_points_of_mmcv),
    (nn.MultiheadAttention, 'forward', read_pytorch),
)


@dataclass(frozen=True)
class Place:
    """An attention of a detector that can be recorded.

    Attributes:
        role: ``'encoder'``, ``'self'`` (decoder self-attention) or ``'cross'``.
        layer: index in its stack.
        module: the attention.
        method, reader: as in :data:`READERS`.
    """

    role: str
    layer: int
    module: nn.Module
    method: str
    reader: Callable[[Any, Call], Dot | Points]


def places(model: Any) -> Iterator[Place]:
    """All attentions of a detector that can be recorded, at most one for each role and layer."""
    for stack in ('encoder', 'decoder'):
        for index, layer in enumerate(layers_of(getattr(model, stack, None))):
            taken = set()
            for name, module in layer.named_modules():
                found = next(((method, reader) for kind, method, reader in READERS if isinstance(module, kind)), None)
                if found is None:
                    continue
                role = 'encoder' if stack == 'encoder' else _role(name, module)
                if role not in taken:
                    taken.add(role)
                    yield Place(role, index, module, *found)


def layers_of(stack: Any) -> Sequence[nn.Module]:
    """The layers of an encoder or a decoder, of ours, of mmdet, or of mmdet behind an adapter."""
    return getattr(getattr(stack, 'stack', stack), 'layers', ())


def _role(name: str, module: nn.Module) -> str:
    """By what a part of ours states, else by the name of the attribute that holds it."""
    place = contract_of(module).place or name
    return 'cross' if 'cross' in place else 'self'
