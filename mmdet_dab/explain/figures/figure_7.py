"""Figure 7: the temperature of the sine code says how wide a query looks."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Material
from mmdet_dab.explain.figures.position import as_attention, code_logits, half_maximum
from mmdet_dab.models.positional_encoder import SinePositionalEncoder

TITLE = 'The temperature of the sine code says how wide a query looks'
SHAPE = (64, 64)
#: Those of table 6 that are told apart at this size.
TEMPERATURES = (2.0, 5.0, 10.0, 20.0, 100.0, 10000.0)


def draw(material: Material) -> Figure:
    """A map for each temperature; that of the config is marked."""
    own = float(material.encoder.temperature)
    temperatures = sorted({*TEMPERATURES, own})
    figure, (row,) = style.panels(1, len(temperatures), 1.9, 2.4)
    for axes, temperature in zip(row, temperatures, strict=True):
        encoder = SinePositionalEncoder(
            2 * material.encoder.num_feats, temperature, scale=material.encoder.scale, offset=material.encoder.offset
        )
        attention = as_attention(code_logits(encoder, torch.tensor([[0.5, 0.5]]), SHAPE))[0]
        style.draw_map(axes, attention)
        style.draw_anchor(axes, [0.5, 0.5])
        is_own = temperature == own
        axes.set_title(
            f'T = {temperature:g}' + (' (config)' if is_own else ''),
            fontsize=style.TEXT,
            weight='bold' if is_own else None,
        )
        axes.set_xlabel(f'half maximum:\n{half_maximum(attention)[0]:.2f} wide', fontsize=style.SMALL)
    return figure
