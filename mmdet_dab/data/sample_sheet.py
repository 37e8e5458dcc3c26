"""One sheet of annotated images, loaded as a training run loads them, at the size at which it sees
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.drawing import draw_box, draw_name, new_figure, save_figure
from mmdet_dab.data.images import Header, read_header
from mmdet_dab.data.palette import COLOURS, palette
from mmdet_dab.data.report import printable
from mmdet_dab.data.statistics import Resizing
from mmdet_dab.errors import plural, shortened

COLUMNS, TRAIN_IMAGES, VAL_IMAGES = 4, 8, 4
#: With more objects on an image their names would hide it; the colours tell, unless too many.
MOST_NAMES = 10
MOST_IN_LEGEND = 26
#: More boxes than these are not drawn: they would hide the image, and take minutes.
MOST_BOXES = 200


@dataclass(frozen=True)
class Tile:
    """One image of the sheet: split, annotations, folder, row, and why it was chosen."""

    split: str
    data: Annotations
    folder: Path
    row: int
    reason: str


def draw_sheet(
    path: Path,
    splits: Sequence[tuple[str, Annotations, Path]],
    classes: Sequence[str],
    resizing: Resizing,
) -> None:
    """Draw images with their boxes: the fullest, the smallest objects, the rarest classes, others.

    Args:
        path: of the file to write; its suffix says the format.
        splits: name, annotations and image folder, first that of the training run.
        classes: by label; boxes of no class, crowds and invalid boxes are dashed.
        resizing: of the training run.
    """
    tiles = [
        Tile(name, data, folder, row, reason)
        for (name, data, folder), number in zip(splits, (TRAIN_IMAGES, VAL_IMAGES), strict=False)
        for row, reason in choose(data, folder, classes, number)
    ]
    if not tiles:
        return
    rows = math.ceil(len(tiles) / COLUMNS)
    ratio = float(np.clip(np.median([_height_to_width(tile) for tile in tiles]), 0.2, 5))
    figure, cells = new_figure(rows, COLUMNS, (4.4 * COLUMNS, (4.4 * ratio + 0.3) * rows + 0.7))
    colours = [tuple(channel / 255 for channel in colour) for colour in palette(len(classes))]
    for cell in cells.flat:
        cell.axis('off')
    for cell, tile in zip(cells.flat, tiles, strict=False):
        _draw_tile(cell, tile, classes, colours, resizing)
    _draw_legend(figure, tiles, classes, colours)
    save_figure(figure, path)


def _draw_legend(
    figure: Figure, tiles: Sequence[Tile], classes: Sequence[str], colours: Sequence[tuple[float, ...]]
) -> None:
    on_sheet = [tile.data.labels(classes)[tile.data.image_index == tile.row] for tile in tiles]
    shown = sorted(set(np.concatenate(on_sheet).tolist()) - {-1})[:MOST_IN_LEGEND]
    patches = [*(Patch(color=colours[label]) for label in shown), Patch(fill=False, linestyle='--')]
    names = [*(shortened(classes[label]) for label in shown), 'not trained on']
    legend = figure.legend(
        patches, names, loc='outside lower center', ncols=min(len(names), 9), fontsize=9, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign is a dollar sign


def choose(data: Annotations, folder: Path, classes: Sequence[str], number: int) -> list[tuple[int, str]]:
    """Rows of readable images worth looking at, and why."""
    headers = [read_header(folder / image['file_name']) for image in data.images]
    chosen: dict[int, str] = {}
    for row, reason in _wanted(data, classes, headers):
        if len(chosen) < number and row not in chosen and not headers[row].problem:
            chosen[row] = reason
    return list(chosen.items())


def _wanted(data: Annotations, classes: Sequence[str], headers: Sequence[Header]) -> Iterator[tuple[int, str]]:
    if not len(data.images):
        return
    counts = data.objects_per_image(classes)
    yield int(np.argmax(counts)), 'the fullest'
    yield from (
        (row, f'EXIF orientation {header.orientation}') for row, header in enumerate(headers) if header.orientation != 1
    )
    valid = np.isfinite(data.boxes).all(axis=1) & (data.boxes[:, 2:] > 0).all(axis=1)
    known = data.image_index >= 0
    for index in np.flatnonzero(~valid & known)[:1].tolist():
        yield int(data.image_index[index]), 'with an invalid box'
    valid &= known & data.counted
    if valid.any():
        indices = np.flatnonzero(valid)
        areas = data.boxes[indices, 2] * data.boxes[indices, 3]
        yield int(data.image_index[indices[np.argmin(areas)]]), 'with the smallest object'
        yield int(data.image_index[indices[np.argmax(areas)]]), 'with the largest object'
    labels = data.labels(classes)
    per_class = np.bincount(labels[labels >= 0], minlength=len(classes))
    for label in np.argsort(per_class, kind='stable').tolist()[: TRAIN_IMAGES // 2]:
        on_image = np.bincount(data.image_index[(labels == label) & valid], minlength=len(data.images))
        if on_image.any():
            yield int(np.argmax(on_image)), f'with most of {classes[label]}'
    for row in np.linspace(0, len(data.images) - 1, 4 * TRAIN_IMAGES).round().astype(int).tolist():
        yield row, ''


def _height_to_width(tile: Tile) -> float:
    image = tile.data.images[tile.row]
    return image['height'] / image['width'] if image['width'] else 1.0


def _draw_tile(
    axes: Axes, tile: Tile, classes: Sequence[str], colours: Sequence[tuple[float, ...]], resizing: Resizing
) -> None:
    name = tile.data.images[tile.row]['file_name']
    # The loader of mmdet's LoadImageFromFile: what the sheet shows is what is trained on, EXIF
    # orientation included.
    image = mmcv.imread(str(tile.folder / name), channel_order='rgb')
    (factors,) = resizing.factors(np.array([image.shape[1::-1]], dtype=float))
    width, height = np.maximum((factors * image.shape[1::-1]).round(), 1).astype(int).tolist()
    axes.imshow(mmcv.imresize(image, (width, height)))
    indices = np.flatnonzero(tile.data.image_index == tile.row)
    labels = tile.data.labels(classes)[indices]
    boxes = tile.data.boxes[indices] * np.tile(factors, 2)
    trained = (labels >= 0) & tile.data.counted[indices] & (boxes[:, 2:] > 0).all(axis=1)
    few = len(indices) <= MOST_NAMES
    for row in np.flatnonzero(np.isfinite(boxes).all(axis=1))[:MOST_BOXES].tolist():
        known = labels[row] >= 0
        colour = colours[labels[row]] if known else (0.5, 0.5, 0.5)
        draw_box(axes, boxes[row], colour, '-' if trained[row] else '--')
        if known and (few or len(classes) > len(COLOURS)):
            draw_name(axes, classes[labels[row]], boxes[row], colour, height, 7 if few else 5)
    title = f'{tile.split}: {printable(Path(name).name)}, {plural(len(indices), "object")}'
    axes.set_title(title + (f'\n{tile.reason}' if tile.reason else '\n'), fontsize=8, parse_math=False)
