"""Figure 11: the boxes of queries layer by layer; edges that move away from their end are marked."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from torch import Tensor

from mmdet_dab.errors import UserError
from mmdet_dab.explain.figures import style
from mmdet_dab.explain.figures.material import Example, Material, Subject, highest
from mmdet_dab.explain.recording import Recording, record

TITLE = 'The boxes of queries, layer by layer'
IMAGES, QUERIES = 3, 4
#: Of all columns, and of an image at most, in inches.
WIDTH, HIGHEST = 8.0, 3.0
#: An edge is unstable where a layer moves it away from where it ends, by more than this part of the
#: image.
TOLERANCE = 0.01


def unstable_edges(boxes: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Edges that a layer moved away from where they end.

    Args:
        boxes: (L, N, 4) cx cy w h in parts of the image.
        tolerance: how far they may, in parts of the image.

    Returns:
        (L, N, 4) bool, of left, top, right and bottom; False for the first layer.
    """
    edges = bbox_cxcywh_to_xyxy(boxes)
    distance = (edges - edges[-1]).abs()
    return (distance.diff(dim=0, prepend=distance[:1]) > tolerance).logical_and(distance > tolerance)


def draw(material: Material) -> Figure:
    """A row for each detector and image, a column for each layer, and one for the anchors."""
    subjects = material.trained
    if not subjects:
        raise UserError('figure 11 shows what a detector learned: name a checkpoint')
    images = material.examples(IMAGES if len(subjects) == 1 else 1)
    rows = [
        (subject, example, record(subject.model, example.source, queries=(), layers=()))
        for example in images
        for subject in subjects
    ]
    columns = 1 + max(len(recording.boxes) for _, _, recording in rows)
    width = min(2.0, WIDTH / columns)
    figure, cells = style.panels(len(rows), columns, width, min(width * highest(images), HIGHEST) + 0.35)
    for index, (axes, (subject, example, recording)) in enumerate(zip(cells, rows, strict=True)):
        _draw_row(axes, subject, example, recording, material.threshold, first=index == 0)
    return figure


def _draw_row(
    axes: list[Axes], subject: Subject, example: Example, recording: Recording, threshold: float, first: bool
) -> None:
    height, width = example.pixels.shape[:2]
    for cell in axes:
        cell.imshow(example.pixels, extent=(0, 1, 1, 0), interpolation='bilinear')
        cell.set_aspect(height / width)
        cell.autoscale(False)
        cell.set_xticks([])
        cell.set_yticks([])
    queries = found_queries(recording, threshold)
    score = float(recording.scores[-1, queries].max())
    nothing = [] if score >= threshold else [f'best score {score:.2f}']
    style.name_row(axes[0], subject.name, example.name, *nothing)
    if first:
        axes[0].set_title('anchors', fontsize=style.TEXT)
    anchors = recording.anchors[0, queries]
    for anchor in anchors.tolist():
        style.draw_anchor(axes[0], [value for value in anchor if value == value] or [-1, -1])
    if anchors[:, 0].isnan().all():
        axes[0].set_xlabel('none: positions are learned', fontsize=style.SMALL)
    unstable = unstable_edges(recording.boxes)[:, queries]
    for layer, cell in enumerate(axes[1:]):
        if layer >= len(recording.boxes):
            cell.axis('off')
            continue
        if first:
            cell.set_title(f'layer {layer + 1}', fontsize=style.TEXT)
        for box, marks in zip(recording.boxes[layer, queries].tolist(), unstable[layer].tolist(), strict=True):
            _draw_edges(cell, box, marks)
        count = int(unstable[layer].sum())
        cell.set_xlabel(f'{count} of {4 * len(queries)} edges unstable', fontsize=style.SMALL)


def found_queries(recording: Recording, threshold: float, number: int = QUERIES) -> list[int]:
    """The queries with the best scores of the last layer; the best one at least."""
    scores = recording.scores[-1].max(-1).values
    best = scores.argsort(descending=True)[:number].tolist()
    return [query for place, query in enumerate(best) if place == 0 or scores[query] >= threshold]


def _draw_edges(axes: Axes, box: list[float], unstable: list[bool]) -> None:
    x, y, w, h = box
    x1, y1, x2, y2 = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    edges = (([x1, x1], [y1, y2]), ([x1, x2], [y1, y1]), ([x2, x2], [y1, y2]), ([x1, x2], [y2, y2]))
    for (xs, ys), marked in zip(edges, unstable, strict=True):
        axes.plot(xs, ys, color='white', linewidth=4 if marked else 2.6, solid_capstyle='butt')
        axes.plot(xs, ys, color=style.ORANGE if marked else style.BLUE, linewidth=2.8 if marked else 1.4)
