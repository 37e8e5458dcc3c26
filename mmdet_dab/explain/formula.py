"""The positional half of conditional attention as a formula: where a query would look, were its
anchor elsewhere.

With the sine code PE of the anchor's centre and of a cell, what it is multiplied by (MLP_csq(C)),
the expected size (w_ref, h_ref) and the two projections of a layer, a head's position logit is

    (W_q (PE(x, y) · scale · (w_ref / w, h_ref / h)) + b_q) · (W_k PE(cell) + b_k) / √(2E)

(the paper's eq. 4 and 6). A formula is kept only where it gives what was recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.models.layers import ConditionalDetrTransformerDecoder, DABDetrTransformerDecoder
from torch import Tensor

from mmdet_dab.explain.attentions import DotAttention, layers_of, places
from mmdet_dab.explain.tap import Call, tapped
from mmdet_dab.models.decoder import TransformerDecoder
from mmdet_dab.models.positional_encoder import SinePositionalEncoder
from mmdet_dab.models.positional_query import AnchorPositionalQuery, ScaledPositionalQuery

#: What mmdet's decoders encode anchors with, whatever their config says.
TEMPERATURE_OF_MMDET = 10000.0
#: Largest difference from what was recorded, in parts of the largest logit of a layer.
TOLERANCE = 1e-4

Array = np.ndarray


@dataclass(frozen=True)
class LayerFormula:
    """What the formula needs of one decoder layer, for n queries; float32.

    Attributes:
        factors: (n, D), what PE(x, y) is multiplied by; PE(y) is the first half.
        reference_size: (n, 2), w_ref and h_ref; None without modulation.
        query_matrix, query_bias: (D, D) and (D,), W_q and b_q.
        key_matrix, key_bias: (D, D) and (D,), W_k and b_k.
    """

    factors: Array
    reference_size: Array | None
    query_matrix: Array
    query_bias: Array
    key_matrix: Array
    key_bias: Array


@dataclass(frozen=True)
class PositionalFormula:
    """The formula for the recorded queries of one image.

    Attributes:
        layers: by decoder layer.
        num_heads: H.
        temperature: of the code of anchors.
        cell_temperature: of the code of cells.
        scale: angle of coordinate 1, in radians.
        offset, eps: of the code of cells: cell i of n lies at (i + 1 − offset) / (n + eps).
        grid: (rows, columns) of cells that are image.
    """

    layers: Mapping[int, LayerFormula]
    num_heads: int
    temperature: float
    cell_temperature: float
    scale: float
    offset: float
    eps: float
    grid: tuple[int, int]

    def logits(
        self,
        layer: int,
        row: int,
        anchor: Sequence[float],
        temperature: float | None = None,
        cell_temperature: float | None = None,
        modulated: bool = True,
    ) -> Array:
        """Position logits of one query with an anchor of your own.

        Args:
            layer: decoder layer.
            row: of the recorded queries.
            anchor: cx cy w h, or cx cy, in parts of the image.
            temperature, cell_temperature: None takes the detector's.
            modulated: whether w and h modulate.

        Returns:
            (H, rows, columns) float64.
        """
        part = self.layers[layer]
        half = part.factors.shape[1] // 2
        of_anchor = [sine_code(anchor[axis] * self.scale, half, temperature or self.temperature) for axis in (1, 0)]
        code = np.concatenate(of_anchor) * part.factors[row]
        if modulated and part.reference_size is not None:
            width, height = part.reference_size[row] / np.asarray(anchor[2:4], float)
            code = code * np.repeat((height, width), half)
        query = part.query_matrix.astype(float) @ code + part.query_bias
        along_y, along_x = (
            sine_code(
                (np.arange(cells) + 1 - self.offset) / (cells + self.eps) * self.scale,
                half,
                cell_temperature or self.cell_temperature,
            )
            for cells in self.grid
        )
        matrix = part.key_matrix.astype(float)
        keys = (along_y @ matrix[:, :half].T)[:, None] + (along_x @ matrix[:, half:].T)[None] + part.key_bias
        per_head = query.reshape(self.num_heads, -1)
        products = keys.reshape(*self.grid, *per_head.shape) * per_head
        return products.sum(-1).transpose(2, 0, 1) / math.sqrt(2 * per_head.shape[1])


def sine_code(angle: Array | float, num_feats: int, temperature: float) -> Array:
    """PE of one coordinate, (...) in radians -> (..., num_feats); sines and cosines interleaved."""
    index = np.arange(num_feats) // 2
    places_ = np.asarray(angle, float)[..., None] / temperature ** (2 * index / num_feats)
    return np.where(np.arange(num_feats) % 2 == 0, np.sin(places_), np.cos(places_))


@contextmanager
def listening(model: Any) -> Iterator[dict[str, list[Call]]]:
    """Listen to what :func:`formula_of` needs; nothing for decoders that have no formula."""
    decoder = getattr(model.decoder, 'stack', model.decoder)
    with ExitStack() as stack:
        heard = {}
        if isinstance(decoder, TransformerDecoder):
            heard['position'] = stack.enter_context(tapped(decoder.positional_query, 'forward'))
        elif isinstance(decoder, DABDetrTransformerDecoder | ConditionalDetrTransformerDecoder):
            for index, layer in enumerate(layers_of(decoder)):
                heard[f'mmdet {index}'] = stack.enter_context(tapped(layer, 'forward'))
        yield heard


def formula_of(
    model: Any,
    heard: Mapping[str, list[Call]],
    image: int,
    rows: Tensor,
    cross: Mapping[int, Any],
    anchors: Tensor,
    shapes: Sequence[tuple[int, int]],
    padding: Tensor | None,
) -> PositionalFormula | None:
    """The formula for the queries ``rows`` of one image of the batch, if there is one.

    Args:
        model: the detector.
        heard: by :func:`listening`.
        image: index in the batch.
        rows: (n,) long.
        cross: what was recorded of these queries, by layer.
        anchors: (L, N, 4), NaN for what they lack.
        shapes: of the feature levels.
        padding: (S,) bool of this image, or None.

    Returns:
        None for attentions that do not split, several feature levels, and parts of your own that
        compute something else.
    """
    code = _code_of(model)
    modules = {place.layer: place.module for place in places(model) if place.role == 'cross'}
    splits = {layer: found for layer, found in cross.items() if getattr(found, 'position', None) is not None}
    if code is None or not splits or len(shapes) != 1:
        return None
    grid = _grid(shapes[0], padding)
    layers = {}
    for layer in splits:
        scale = _scale_of(model, heard, layer)
        projections = _projections(modules[layer])
        if scale is None or projections is None:
            return None
        factors, size = scale
        layers[layer] = LayerFormula(
            _numpy(factors[image][rows]), None if size is None else _numpy(size[image][rows]), *map(_numpy, projections)
        )
    heads = next(iter(splits.values())).logits.size(0)
    formula = PositionalFormula(layers, heads, **code, grid=grid)
    return formula if _fits(formula, splits, rows, anchors, shapes[0]) else None


def _fits(
    formula: PositionalFormula,
    splits: Mapping[int, DotAttention],
    rows: Tensor,
    anchors: Tensor,
    shape: tuple[int, int],
) -> bool:
    """Whether the formula gives what was recorded, for the first query of every layer."""
    height, width = formula.grid
    if not len(rows):
        return True
    for layer, attention in splits.items():
        assert attention.position is not None
        recorded = attention.position[:, 0].unflatten(-1, shape)[:, :height, :width].double().numpy()
        given = formula.logits(layer, 0, anchors[layer, rows[0]].tolist())
        if not np.abs(given - recorded).max() <= TOLERANCE * max(np.abs(recorded).max(), 1):
            return False
    return True


def _grid(shape: tuple[int, int], padding: Tensor | None) -> tuple[int, int]:
    """(rows, columns) that are image."""
    if padding is None:
        return shape
    inside = ~padding.view(shape)
    return int(inside.any(1).sum()), int(inside.any(0).sum())


def _code_of(model: Any) -> dict[str, float] | None:
    """Temperatures, scale, offset and eps of the codes of anchors and of cells."""
    ours = getattr(model, 'positional_encoder', None)
    theirs = getattr(model, 'positional_encoding', None)
    decoder = getattr(model.decoder, 'stack', model.decoder)
    if isinstance(ours, SinePositionalEncoder):
        cells = dict(cell_temperature=ours.temperature, scale=ours.scale, offset=ours.offset, eps=ours.eps)
    elif theirs is not None and getattr(theirs, 'normalize', False):
        cells = dict(cell_temperature=theirs.temperature, scale=theirs.scale, offset=-theirs.offset, eps=theirs.eps)
    else:
        return None
    if isinstance(decoder, TransformerDecoder):
        return None if ours is None or decoder.anchor_frame else dict(temperature=ours.box_temperature, **cells)
    return dict(temperature=TEMPERATURE_OF_MMDET, **cells)


def _scale_of(model: Any, heard: Mapping[str, list[Call]], layer: int) -> tuple[Tensor, Tensor | None] | None:
    """Factors (B, N, D) and reference sizes (B, N, 2) of a layer."""
    decoder = getattr(model.decoder, 'stack', model.decoder)
    if 'position' in heard:
        part, call = decoder.positional_query, heard['position'][layer]
        if not isinstance(part, ScaledPositionalQuery):
            return None
        content, ones = call.argument(0, 'queries').content, torch.ones_like(call.result.sine)
        modulation = getattr(part, 'size_modulation', None) if isinstance(part, AnchorPositionalQuery) else None
        if modulation is not None and not hasattr(modulation, 'reference_size'):
            return None
        size = None if modulation is None else modulation.reference_size(content).float().sigmoid()
        return part.scaled(ones, content, layer), size
    if f'mmdet {layer}' not in heard:
        return None
    call = heard[f'mmdet {layer}'][-1]
    content, sine = call.argument(0, 'query'), call.kwargs['ref_sine_embed']
    fixed = getattr(decoder, 'query_scale_type', '') == 'fix_elewise'
    if fixed:
        factors = decoder.query_scale.weight[layer]
    else:
        factors = decoder.query_scale(content) if layer else torch.ones_like(sine)
    modulated = getattr(decoder, 'with_modulated_hw_attn', False)
    return factors.expand_as(sine), decoder.ref_anchor_head(content).sigmoid() if modulated else None


def _projections(module: Any) -> tuple[Tensor, ...] | None:
    """W_q, b_q, W_k, b_k of the positional half of a cross-attention of ours or of mmdet."""
    query = getattr(module, 'query_sine', getattr(module, 'qpos_sine_proj', None))
    key = getattr(module, 'key_position', getattr(module, 'kpos_proj', None))
    if query is None or key is None or query.bias is None or key.bias is None:
        return None
    return query.weight, query.bias, key.weight, key.bias


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().float().cpu().numpy()
