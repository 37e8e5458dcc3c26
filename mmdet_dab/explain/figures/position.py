"""Where queries look by position alone: the maps of figures 4, 6 and 7 of the paper.

All maps are made by the parts of the detector itself: its positional encoder, its size modulation,
and the projections of its attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from mmdet_dab.errors import UserError
from mmdet_dab.explain.recording import Recording, record_batch
from mmdet_dab.explain.tap import tapped
from mmdet_dab.models.attention import ConditionalCrossAttention, PlacedAttention, project
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.size_modulation import modulate
from mmdet_dab.models.structures import ImageTokens, PositionalEncoder, Queries


@torch.no_grad()
def code_logits(
    encoder: PositionalEncoder, anchors: Tensor, shape: tuple[int, int], reference_size: Tensor | None = None
) -> Tensor:
    """PE(anchor) · PE(cell) / √D of eq. 6, without anything that is learned.

    Args:
        encoder: of cells and boxes.
        anchors: (N, 4) cx cy w h or (N, 2) cx cy, in 0..1.
        shape: (H, W), cells of the map.
        reference_size: (2,) w_ref, h_ref: the size modulation of eq. 6; None: without it.

    Returns:
        (N, H, W).
    """
    cells = encoder.cells(torch.zeros(1, *shape, dtype=torch.bool))[0]  # (H, W, D)
    code = encoder.boxes(anchors[:, :2])  # (N, D)
    if reference_size is not None:
        code = modulate(code[None], reference_size.expand(1, len(anchors), 2), anchors[None, :, 2:])[0]
    return torch.einsum('nd,hwd->nhw', code, cells) / math.sqrt(cells.size(-1))


def as_attention(logits: Tensor) -> Tensor:
    """(..., H, W) logits -> weights that sum to 1 over the cells."""
    return logits.flatten(-2).softmax(-1).view_as(logits)


def half_maximum(attention: Tensor) -> tuple[float, float]:
    """Width and height of the region with at least half of the largest weight, through its peak.

    Args:
        attention: (H, W).

    Returns:
        in parts of the map, 0 to 1; between cells interpolated.
    """
    row, column = divmod(int(attention.argmax()), attention.size(1))
    return _extent(attention[row].tolist(), column), _extent(attention[:, column].tolist(), row)


def _extent(values: Sequence[float], peak: int) -> float:
    half = values[peak] / 2

    def reach(step: int) -> float:
        place = peak
        while 0 <= place + step < len(values):
            after = values[place + step]
            if after < half:
                return abs(place - peak) + (values[place] - half) / (values[place] - after)
            place += step
        return abs(place - peak) + 0.5  # the border of the map

    return min(1.0, (reach(1) + reach(-1)) / len(values))


# --- Of a detector


@dataclass(frozen=True)
class Look:
    """A forward pass of a detector of ours over one image, with what its positional queries got.

    Attributes:
        model: the detector.
        recording: without attention; see :func:`mmdet_dab.explain.record`.
        queries: those that each decoder layer is given.
        tokens: the encoded image.
    """

    model: ComposedDETR
    recording: Recording
    queries: tuple[Queries, ...]
    tokens: ImageTokens

    @property
    def map_shape(self) -> tuple[int, int]:
        """(H, W) of the only feature level."""
        return self.tokens.shapes[0]

    def best_queries(self, number: int, apart: float = 0.0) -> list[int]:
        """The queries with the highest scores of the last layer, with centres ``apart`` at least."""
        scores, centers = self.recording.scores[-1].max(-1).values, self.recording.boxes[-1, :, :2]
        chosen: list[int] = []
        for query in scores.argsort(descending=True).tolist():
            if all(float((centers[query] - centers[other]).norm()) >= apart for other in chosen):
                chosen.append(query)
            if len(chosen) == number:
                break
        return chosen

    def attention(self, layer: int, chosen: Sequence[int], change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Where queries look by position alone: the mean over heads.

        Args:
            layer: decoder layer, from 0.
            chosen: n queries.
            change: of all anchors (1, N, 4 or 2), before they are encoded; None: as they are.

        Returns:
            (n, H, W) of the image, without padding; the sum over the canvas is 1.

        Raises:
            UserError: deformable attention, or several feature levels.
        """
        queries = self.queries[layer]
        if change is not None:
            queries = replace(queries, anchors=change(queries.required('anchors', self)))
        logits = position_logits(self.model, queries, layer, self.tokens)[:, list(chosen)]
        if len(self.tokens.shapes) > 1:
            raise UserError(
                f'the decoder looks at {len(self.tokens.shapes)} feature levels, and maps can be drawn of one; figures '
                '7, 11 and 12 can be drawn of it'
            )
        if self.tokens.padding is not None:
            logits = logits.masked_fill(self.tokens.padding[0], -torch.inf)
        maps = logits.softmax(-1).mean(0).unflatten(-1, self.map_shape)
        (ratio_x, ratio_y), (height, width) = self.tokens.valid_ratios[0, 0].tolist(), self.map_shape
        return maps[:, : round(ratio_y * height), : round(ratio_x * width)].cpu()


@torch.no_grad()
def look(model: Any, inputs: Tensor, samples: Sequence[DetDataSample]) -> Look:
    """Run a detector on one image, prepared as :func:`mmdet_dab.explain.load_batch` does.

    Raises:
        UserError: its decoder is none of ours.
    """
    decoder = getattr(model.decoder, 'stack', model.decoder)
    if not (isinstance(model, ComposedDETR) and hasattr(decoder, 'positional_query')):
        raise UserError(
            f'the decoder of this {type(model).__name__} ({type(decoder).__name__}) makes its positional queries in '
            'code of its own, so that no maps of them can be drawn; figures 7, 11 and 12 can be drawn of it'
        )
    with ExitStack() as stack:
        encoded = stack.enter_context(tapped(model.decoder.positional_query, 'forward'))
        decoded = stack.enter_context(tapped(model.decoder, 'forward'))
        (recording,) = record_batch(model, inputs, samples, queries=(), layers=())
    return Look(
        model, recording, tuple(call.argument(0, 'queries') for call in encoded), decoded[-1].argument(1, 'tokens')
    )


@torch.no_grad()
def position_logits(model: ComposedDETR, queries: Queries, layer: int, tokens: ImageTokens) -> Tensor:
    """The position part of a decoder layer's cross-attention.

    Conditional attention splits into content and position exactly. DETR adds them up; what is
    given for it is the dot product of position with position alone.

    Args:
        model: the detector.
        queries: as the layer is given them, of a batch of one.
        layer: from 0.
        tokens: the encoded image.

    Returns:
        (heads, N, S), scaled, before any mask.

    Raises:
        UserError: deformable attention, which has sampling points instead of a map.
    """
    position = model.decoder.positional_query(queries, layer, model.positional_encoder)
    attention = model.decoder.layers[layer].cross_attention
    if isinstance(attention, ConditionalCrossAttention):
        query = project(attention.query_sine, position.sine)
        key, parts = project(attention.key_position, tokens.position), 2
    elif isinstance(attention, PlacedAttention):
        query, key, parts = project(attention.query, position.learned), project(attention.key, tokens.position), 1
    else:
        raise UserError(
            f'decoder layer {layer + 1}: {type(attention).__name__} has no positional map, it samples points around '
            'the anchor; figures 7, 11 and 12 can be drawn of it'
        )
    query, key = attention.split(query)[0], attention.split(key)[0]
    return query @ key.mT / math.sqrt(parts * query.size(-1))
