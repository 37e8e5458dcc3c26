"""Figure 4: where queries of DETR, Conditional DETR and DAB-DETR look by position alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import KINDS, Material, Subject, code_with
from mmdet_dab.explain.figures.position import Look, as_attention, code_logits
from mmdet_dab.models.positional_encoder import SinePositionalEncoder

TITLE = 'Where queries look by position alone: DETR, Conditional DETR, DAB-DETR'
#: Places and sizes that are drawn where no detector has any.
ANCHORS = ((0.28, 0.35, 0.2, 0.2), (0.68, 0.3, 0.12, 0.4), (0.5, 0.65, 0.5, 0.15), (0.4, 0.55, 0.5, 0.6))
#: Cells of a map from the formula; of the size that the content expects of a box (w_ref, h_ref).
SHAPE, REFERENCE = (32, 32), 0.25
#: Of DETR and Conditional DETR, which DAB-DETR changed, and of DAB-DETR.
TEMPERATURE, NEW_TEMPERATURE = 10000, 20
#: Centres of queries that are chosen differ by this part of the image at least.
APART = 0.15


def draw(material: Material) -> Figure:
    """A row for each detector: from weights where there are any, else from the formula."""
    rows: dict[str, list[Row]] = {}
    anchors = torch.tensor(ANCHORS)
    for subject in reversed(material.trained):  # the first one's anchors are those of the formula
        row, own = _of_detector(subject, material)
        rows.setdefault(subject.kind, []).insert(0, row)
        anchors = own if own is not None else anchors
    for kind in KINDS.values():
        rows.setdefault(kind, []).append(_of_formula(kind, anchors, material))
    shown = [row for kind in KINDS.values() for row in rows[kind][: max(1, len(rows[kind]) - 1)]]
    figure, cells = style.panels(len(shown), len(ANCHORS), 1.75, 1.75)
    for axes, row in zip(cells, shown, strict=True):
        style.name_row(axes[0], *row.names)
        for index, cell in enumerate(axes):
            if index < len(row.maps):
                style.draw_map(cell, row.maps[index], row.ratio)
                if row.places:
                    style.draw_anchor(cell, row.places[index])
            else:
                cell.axis('off')
    return figure


class Row(NamedTuple):
    """The maps of a detector.

    Attributes:
        names: what it is, line by line.
        maps: (n, H, W).
        places: the anchors of the n queries; none where they have none.
        ratio: height to width of the image.
    """

    names: tuple[str, ...]
    maps: Tensor
    places: list[list[float]]
    ratio: float = 1.0


def _of_detector(subject: Subject, material: Material) -> tuple[Row, Tensor | None]:
    """The row of a detector with weights, and the anchors in it, if it has boxes."""
    seen: Look = material.examples(1)[0].looked_at_by(subject.model)
    layer = material.layer_of(subject.model)
    chosen = seen.best_queries(len(ANCHORS), APART)
    anchors = seen.recording.anchors[layer, chosen]
    places = [[value for value in anchor if value == value] for anchor in anchors.tolist()]  # without NaN
    height, width = seen.recording.img_shape
    names = (subject.kind, subject.name, f'layer {layer + 1}')
    row = Row(names, seen.attention(layer, chosen), places if all(places) else [], height / width)
    return row, None if anchors.isnan().any() or len(anchors) < len(ANCHORS) else anchors


def _of_formula(kind: str, anchors: Tensor, material: Material) -> Row:
    """The row of a kind of detector before any training."""
    width = 2 * material.code.num_feats
    before = SinePositionalEncoder(width, temperature=TEMPERATURE)
    if kind == 'DETR':
        cells = before.cells(torch.zeros(1, *SHAPE, dtype=torch.bool))[0]
        learned = torch.randn(len(anchors), width, generator=torch.Generator().manual_seed(0))
        logits = torch.einsum('nd,hwd->nhw', learned, cells) / width**0.5
        return Row((kind, 'as initialised'), as_attention(logits), [])
    if kind == 'Conditional DETR':
        logits = code_logits(before, anchors[:, :2], SHAPE)
        return Row((kind, f'formula, T = {TEMPERATURE}'), as_attention(logits), anchors[:, :2].tolist())
    # The temperature of a config is DAB-DETR's where the config is one.
    code = material.code if material.subjects[0].kind == kind else code_with(material.code, NEW_TEMPERATURE)
    logits = code_logits(code, anchors, SHAPE, torch.full((2,), REFERENCE))
    return Row((kind, f'formula, T = {code.temperature:g}'), as_attention(logits), anchors.tolist())
