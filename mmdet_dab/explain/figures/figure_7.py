"""Figure 7: the temperature of the sine code says how wide a query looks."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure

from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Material, code_with
from mmdet_dab.explain.figures.position import as_attention, code_logits, half_maximum

TITLE = 'The temperature of the sine code says how wide a query looks'
SHAPE, COLUMNS = (64, 64), 4
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
        marked = f'T = {own:g}, boxes {config.box_temperature:g}'
        encoders[marked] = config
    rows = math.ceil(len(encoders) / COLUMNS)
    figure, cells = style.panels(rows, COLUMNS, 1.8, 2.35)
    panels = [cell for row in cells for cell in row]
    for axes in panels[len(encoders) :]:
        axes.axis('off')
    for axes, (name, encoder) in zip(panels, encoders.items(), strict=False):
        attention = as_attention(code_logits(encoder, torch.tensor([[0.5, 0.5]]), SHAPE))[0]
        style.draw_map(axes, attention)
        style.draw_anchor(axes, [0.5, 0.5])
        is_own = name == marked
        title = f'{name}\n(config)' if is_own else name
        axes.set_title(title, fontsize=style.TEXT, weight='bold' if is_own else None)
        axes.set_xlabel(f'half maximum: {half_maximum(attention)[0]:.2f} wide', fontsize=style.SMALL)
    return figure
