"""What the explorer page knows of a detector and of a recording, in the words of its JavaScript."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models.layers.transformer.utils import ConditionalAttention
from torch import Tensor

from mmdet_dab.explain.attentions import DotAttention, Place, PointAttention, places
from mmdet_dab.explain.packing import Block
from mmdet_dab.explain.recording import Recording
from mmdet_dab.models.anchor_masked_attention import AnchorMaskedCrossAttention
from mmdet_dab.models.attention import ConditionalCrossAttention

#: Why there are no sliders, and no parts, by the kind of attention.
WHY = {
    'plain': 'This detector adds position to content before its dot product, so that attention does not split into a '
    'content and a position part: shown are the attention as a whole, the boxes and the scores.',
    'points': 'This detector samples points (deformable attention) instead of weighing all cells: shown are its '
    'points and their weights, the boxes and the scores.',
    'split': 'The position part of this detector is not the sine formula of one feature level: shown are its recorded '
    'parts, which no slider can move.',
    'none': 'The attention of this detector is of a class that cannot be recorded: shown are the boxes, the scores and '
    'the matches.',
}
#: Floats of projections above which they are kept in three bytes.
WIDE = 400_000


def kind_of(recording: Recording) -> str:
    """``'split'``, ``'plain'``, ``'points'`` or ``'none'``, of the cross-attention."""
    for found in recording.cross.values():
        if isinstance(found, PointAttention):
            return 'points'
        return 'plain' if found.content is None else 'split'
    return 'none'


def model_data(model: Any, name: str, recording: Recording, block: Block) -> dict[str, Any]:
    """What holds for a detector on every image.

    Args:
        model: the detector, with ``dataset_meta``.
        name: what it is called.
        recording: any of its recordings.
        block: takes the numbers.
    """
    kind, formula = kind_of(recording), recording.formula
    first = next(iter(recording.cross.values()), None)
    heads = 1 if first is None else first.weights.size(0 if isinstance(first, DotAttention) else 1)
    classes = list((getattr(model, 'dataset_meta', None) or {}).get('classes') or ())
    classes += [f'class {label}' for label in range(len(classes), recording.scores.size(-1))]
    return dict(
        name=name,
        kind=kind,
        why=WHY[kind],
        heads=heads,
        layers=len(recording.boxes),
        classes=classes[: recording.scores.size(-1)],
        formula=None if formula is None else _formula_constants(formula, block),
        masks=_masks(model),
        mixed=[place.layer for place in places(model) if place.role == 'cross' and _mixes(place)],
    )


def _formula_constants(formula: Any, block: Block) -> dict[str, Any]:
    parts = formula.layers.values()
    kind = 'f3' if sum(part.query_matrix.size + part.key_matrix.size for part in parts) > WIDE else 'f4'
    return dict(
        scale=formula.scale,
        offset=formula.offset,
        eps=formula.eps,
        temperature=formula.temperature,
        cellTemperature=formula.cell_temperature,
        width=next(iter(parts)).factors.shape[1],
        matrices={
            layer: dict(
                query=block.add(part.query_matrix, kind),
                queryBias=block.add(part.query_bias, 'f4'),
                key=block.add(part.key_matrix, kind),
                keyBias=block.add(part.key_bias, 'f4'),
            )
            for layer, part in formula.layers.items()
        },
    )


def _mixes(place: Place) -> bool:
    """Whether conditional attention adds projected positions to its content, too."""
    module: Any = place.module
    if isinstance(module, ConditionalCrossAttention):
        return module.query_position is not None
    return isinstance(module, ConditionalAttention) and (place.layer == 0 or module.keep_query_pos)


def _masks(model: Any) -> dict[int, dict[str, Any]]:
    """How layers hide what lies outside of their anchors."""
    return {
        place.layer: dict(reach=place.module.reach, fade=place.module.fade)
        for place in places(model)
        if isinstance(place.module, AnchorMaskedCrossAttention) and place.module.reach is not None
    }


def run_data(
    recording: Recording, shown: Sequence[int], count: int, block: Block, masked_by_anchor: bool = False
) -> dict[str, Any]:
    """What holds for a detector on one image.

    Args:
        recording: of the image.
        shown: of its queries, those that count as detections; they come first.
        count: so many of its recorded queries are kept.
        block: takes the numbers.
        masked_by_anchor: the page computes the mask, see :func:`model_data`.
    """
    inside = None if recording.padding is None else ~recording.padding
    scores, labels = recording.scores.max(-1)
    levels = _grids(recording)
    formula = recording.formula
    return dict(
        queries=recording.queries[:count].tolist(),
        shown=[dict(query=query) for query in shown if query in recording.queries[:count].tolist()],
        total=recording.boxes.size(1),
        levels=levels,
        canvas=[list(shape) for shape in recording.shapes],
        ratios=recording.valid_ratios.tolist(),
        anchors=block.add(recording.anchors, 'f4'),
        boxes=block.add(recording.boxes, 'f4'),
        labels=block.add(labels, 'u2'),
        best=block.add(scores, 'f4'),
        scores=block.add((recording.scores[:, recording.queries[:count]] * 65535).round(), 'u2'),
        matched=None if recording.matched is None else block.add(recording.matched, 'i2'),
        formula=None if formula is None else _formula_rows(formula, count, block),
        attention={
            layer: _attention(found, count, inside, formula is not None, masked_by_anchor, block)
            for layer, found in recording.cross.items()
        },
    )


def _grids(recording: Recording) -> list[list[int]]:
    """(rows, columns) that are image, of every level."""
    if recording.padding is None:
        return [list(shape) for shape in recording.shapes]
    sizes = [height * width for height, width in recording.shapes]
    masks = [~part.view(shape) for part, shape in zip(recording.padding.split(sizes), recording.shapes, strict=True)]
    return [[int(mask.any(1).sum()), int(mask.any(0).sum())] for mask in masks]


def _formula_rows(formula: Any, count: int, block: Block) -> dict[int, dict[str, Any]]:
    return {
        layer: dict(
            factors=block.add(part.factors[:count], 'f4'),
            size=None if part.reference_size is None else block.add(part.reference_size[:count], 'f4'),
        )
        for layer, part in formula.layers.items()
    }


def _attention(
    found: DotAttention | PointAttention,
    count: int,
    inside: Tensor | None,
    has_formula: bool,
    masked_by_anchor: bool,
    block: Block,
) -> dict[str, Any]:
    if isinstance(found, PointAttention):
        return dict(points=block.add(found.points[:count], 'f4'), weights=block.add(found.weights[:count], 'f4'))

    def rows(logits: Tensor) -> np.ndarray:
        kept = logits[:, :count] if inside is None else logits[:, :count][..., inside]
        return kept.transpose(0, 1).numpy()  # (n, H, cells)

    if found.content is None or found.position is None:
        return dict(logits=block.add_rounded(rows(_hidden(found.logits, found.mask))))
    content = found.content if masked_by_anchor else _hidden(found.content, found.mask)
    position = {} if has_formula else dict(position=block.add_rounded(rows(found.position)))
    return dict(content=block.add_rounded(rows(content)), **position)


#: What a hidden cell's logit lies below the lowest of its row: e⁻⁴⁰ of its weight is left.
FAR = 40.0


def _hidden(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits with the mask added, hidden cells far below the others."""
    if mask is None:
        return logits
    masked = logits + mask
    lowest = masked.masked_fill(masked.isinf(), torch.inf).min(-1, keepdim=True).values
    return torch.maximum(masked, lowest - FAR)


def best_queries(scores: Tensor, matched: Tensor | None, threshold: float, most: int) -> tuple[list[int], list[int]]:
    """Which queries a page shows: those that detect, those that are matched, then the next best.

    Args:
        scores: (L, N, C).
        matched: (L, N) or None.
        threshold: score of a detection.
        most: queries in all.

    Returns:
        the queries, best of each kind first, and those of them that detect.
    """
    best = scores[-1].max(-1).values
    order = best.argsort(descending=True).tolist()
    shown = [query for query in order if best[query] >= threshold]
    answering: list[int] = []
    for row in [] if matched is None else matched.flip(0):  # from the last layer on
        answering += [query for query in order if row[query] >= 0]
    queries = list(dict.fromkeys([*shown, *answering, *order]))[:most]
    return queries, [query for query in shown if query in set(queries)]


#: Characters without a shape that turn the direction of what follows (Unicode's bidi controls).
TURNING = re.compile('[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]')


def escaped(text: str) -> str:
    """JSON that can stand in a script element of a page, whatever names it holds.

    Bytes of a file name that are no UTF-8 become question marks, and marks that would turn the
    direction of the text after a name U+FFFD.
    """
    text = TURNING.sub('\ufffd', text.encode('utf-8', 'replace').decode('utf-8'))
    for letter in '<>&\u2028\u2029':
        text = text.replace(letter, f'\\u{ord(letter):04x}')
    return text
