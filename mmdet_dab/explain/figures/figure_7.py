"""Figure 7: the temperature of the sine code says how wide a query looks."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Material, code_with
from mmdet_dab.explain.figures.position import as_attention, code_logits, half_maximum

TITLE = 'The temperature of the sine code says how wide a query looks'
SHAPE = (64, 64)
#: Those of table 6 that are told apart at this size.
TEMPERATURES = (2.0, 5.0, 10.0, 20.0, 100.0, 10000.0)


def draw(material: Material) -> Figure:
    """A map for each temperature; that of the config is marked.

    A config that encodes boxes with another temperature than cells, as the released weights need,
    has a map of its own at the end: without learned projections its peak is not at the anchor.
    """
    config, code = material.encoder, material.code
    own = float(code.temperature)
    encoders = {f'T = {value:g}': code_with(code, value) for value in sorted({*TEMPERATURES, own})}
    marked = f'T = {own:g}'
    if config.box_temperature != config.temperature:
        marked = f'T = {own:g},\nboxes {config.box_temperature:g}'
        encoders[marked] = config
    figure, (row,) = style.panels(1, len(encoders), 1.6, 2.35)
    for axes, (name, encoder) in zip(row, encoders.items(), strict=True):
        attention = as_attention(code_logits(encoder, torch.tensor([[0.5, 0.5]]), SHAPE))[0]
        style.draw_map(axes, attention)
        style.draw_anchor(axes, [0.5, 0.5])
        weight = 'bold' if name == marked else None
        axes.set_title(f'{name} (config)' if name == marked else name, fontsize=style.TEXT, weight=weight)
        axes.set_xlabel(f'half maximum:\n{half_maximum(attention)[0]:.2f} wide', fontsize=style.SMALL)
    return figure
