"""Figure 10: what queries have learned before they see an image: points, or boxes."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mmdet_dab.errors import UserError
from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Material, Subject
from mmdet_dab.models.encoder_queries import EncoderQueryGenerator
from mmdet_dab.models.query_generator import LearnedQueryGenerator, learned_anchors

TITLE = 'Learned points, and learned boxes'
#: More boxes than these hide one another; those that are drawn are spread over all.
MOST_BOXES = 60


def draw(material: Material) -> Figure:
    """A row for each detector: centres, boxes, and their sizes.

    Raises:
        UserError: no detector has learned anchors.
    """
    rows = [(subject, learned_anchors(subject.model)) for subject in material.subjects]
    shown = [(subject, anchors) for subject, anchors in rows if anchors is not None]
    if not shown:
        raise UserError(f'figure 10: {_lack(material.subjects[0])}')
    figure, cells = style.panels(len(shown), 3, 2.4, 2.4)
    for axes, (subject, learned) in zip(cells, shown, strict=True):
        anchors = learned.cpu()
        style.name_row(axes[0], subject.kind, subject.name, *([] if subject.trained else ['before training']))
        _draw_centers(axes[0], anchors)
        for cell in axes[1:]:
            if anchors.size(1) == 2:
                cell.axis('off')
                cell.text(0.5, 0.5, 'points have no size', ha='center', fontsize=style.TEXT, color=style.GREY)
        if anchors.size(1) == 4:
            _draw_boxes(axes[1], anchors)
            _draw_sizes(axes[2], anchors)
    return figure


def _lack(subject: Subject) -> str:
    """Why a detector has no learned anchors that can be drawn."""
    parts = list(subject.model.modules())
    if any(isinstance(part, EncoderQueryGenerator) for part in parts):
        return (
            f'the anchors of {subject.name} come from its encoder, for every image anew: none are learned; figure 11 '
            'shows those of images'
        )
    if any(isinstance(part, LearnedQueryGenerator) for part in parts):
        return (
            f'the queries of {subject.name} have learned positions, which are no places in the image: there is no '
            'point and no box to draw'
        )
    return f"the queries of {subject.name} are mmdet's own and cannot be drawn; figures 7, 11 and 12 can"


def _unit_square(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=style.TEXT)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    axes.set_aspect(1)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_centers(axes: Axes, anchors: Tensor) -> None:
    _unit_square(axes, f'centres of {len(anchors):,} queries')
    axes.plot(anchors[:, 0], anchors[:, 1], '.', color=style.BLUE, markersize=4)


def _draw_boxes(axes: Axes, anchors: Tensor) -> None:
    chosen = torch.linspace(0, len(anchors) - 1, min(MOST_BOXES, len(anchors))).round().long()
    _unit_square(axes, 'boxes' if len(chosen) == len(anchors) else f'{len(chosen)} of the boxes')
    for x, y, w, h in anchors[chosen].tolist():
        axes.add_patch(
            Rectangle((x - w / 2, y - h / 2), w, h, fill=False, edgecolor=style.BLUE, alpha=0.5, linewidth=0.9)
        )


def _draw_sizes(axes: Axes, anchors: Tensor) -> None:
    axes.plot(anchors[:, 2], anchors[:, 3], '.', color=style.ORANGE, markersize=4)
    axes.set_title('sizes', fontsize=style.TEXT)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect(1)
    axes.set_xlabel('w', fontsize=style.SMALL)
    axes.set_ylabel('h', fontsize=style.SMALL)
    axes.grid(alpha=0.3)
