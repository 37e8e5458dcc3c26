"""Figure 6: width and height of an anchor modulate where its query looks (eq. 6)."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Material, Subject
from mmdet_dab.explain.figures.position import Look, as_attention, code_logits, half_maximum

TITLE = 'The size of an anchor modulates where its query looks'
SHAPE, REFERENCE = (64, 64), 0.2
#: (w, h) of the anchor over (w_ref, h_ref); None: without modulation, which is the same as 1 and 1.
RATIOS: tuple[tuple[float, float] | None, ...] = (None, (0.5, 0.5), (2, 1), (1, 2), (2, 2))


def draw(material: Material) -> Figure:
    """A row from the formula, and one for each detector with weights, a size modulation and one
    feature level."""
    able = [subject for subject in material.trained if _modulation(subject) is not None]
    looks = [(subject, material.examples(1)[0].looked_at_by(subject.model)) for subject in able]
    shown = [(subject, seen) for subject, seen in looks if len(seen.tokens.shapes) == 1]
    figure, cells = style.panels(1 + len(shown), len(RATIOS), 1.45, 2.0)
    _draw_formula(cells[0], material)
    for row, (subject, seen) in zip(cells[1:], shown, strict=True):
        _draw_detector(row, subject, seen, material.layer_of(subject.model))
    return figure


def _draw_formula(row: list[Axes], material: Material) -> None:
    style.name_row(row[0], f'formula, T = {material.code.temperature:g}')
    for axes, ratio in zip(row, RATIOS, strict=True):
        w, h = (REFERENCE * factor for factor in ratio or (1, 1))
        anchor = torch.tensor([[0.5, 0.5, w, h]])
        reference = None if ratio is None else torch.full((2,), REFERENCE)
        attention = as_attention(code_logits(material.code, anchor, SHAPE, reference))[0]
        style.draw_map(axes, attention)
        style.draw_anchor(axes, [0.5, 0.5] if ratio is None else anchor[0].tolist())
        _annotate(axes, ratio, attention)


def _draw_detector(row: list[Axes], subject: Subject, seen: Look, layer: int) -> None:
    """The best query of an image, with an anchor that is made smaller and larger."""
    (query,) = seen.best_queries(1)
    style.name_row(row[0], subject.name, f'layer {layer + 1}, query {query}')
    height, width = seen.recording.img_shape
    modulation = _modulation(subject)
    for axes, ratio in zip(row, RATIOS, strict=True):
        factors = torch.tensor([1.0, 1.0, *(ratio or (1, 1))])
        anchor = seen.recording.anchors[layer, query] * factors
        try:
            if ratio is None:
                subject.model.decoder.positional_query.size_modulation = None
            attention = seen.attention(layer, [query], factors.mul)[0]
        finally:
            subject.model.decoder.positional_query.size_modulation = modulation
        style.draw_map(axes, attention, height / width)
        style.draw_anchor(axes, anchor[:2].tolist() if ratio is None else anchor.tolist())
        _annotate(axes, ratio, attention)


def _annotate(axes: Axes, ratio: tuple[float, float] | None, attention: Tensor) -> None:
    w, h = half_maximum(attention)
    title = 'no modulation' if ratio is None else f'w × {ratio[0]:g}, h × {ratio[1]:g}'
    axes.set_title(title, fontsize=style.TEXT)
    axes.set_xlabel(f'half maximum:\n{w:.2f} wide, {h:.2f} high', fontsize=style.SMALL)


def _modulation(subject: Subject) -> object | None:
    return getattr(getattr(subject.model.decoder, 'positional_query', None), 'size_modulation', None)
