"""One sheet of annotated pictures, loaded as a training loads them, at the size at which it sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import mmcv
import numpy as np

matplotlib.use('Agg')  # no window is opened, and none is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import objects_per_picture
from mmdet_dab.data.config_writer import COLOURS, palette
from mmdet_dab.data.images import read_header
from mmdet_dab.data.statistics import Resizing

COLUMNS, TRAIN_PICTURES, VAL_PICTURES = 4, 8, 4
#: With more objects on a picture their names would hide it; the colours tell, unless there are too many.
MOST_NAMES = 10
MOST_IN_LEGEND = 26
#: Of a name, as a part of the picture's height; it stands inside of a box that begins higher.
NAME_HEIGHT = 0.05


@dataclass(frozen=True)
class Tile:
    """One picture of the sheet: split, annotations, folder, row, and why it was chosen."""

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
    """Draw pictures with their boxes: the fullest, those with the smallest objects and the rarest classes, others.

    Args:
        path: of the picture to write; its suffix says the format.
        splits: name, annotations and folder of pictures, first that of the training.
        classes: by label; boxes of no class, crowds and boxes that are none are dashed.
        resizing: of the training.
    """
    tiles = [
        Tile(name, data, folder, row, reason)
        for (name, data, folder), number in zip(splits, (TRAIN_PICTURES, VAL_PICTURES), strict=False)
        for row, reason in choose(data, folder, classes, number)
    ]
    if not tiles:
        return
    rows = math.ceil(len(tiles) / COLUMNS)
    ratio = float(np.median([_height_to_width(tile) for tile in tiles]))
    figure, cells = pyplot.subplots(
        rows, COLUMNS, figsize=(4.4 * COLUMNS, (4.4 * ratio + 0.3) * rows + 0.7), squeeze=False, layout='constrained'
    )
    colours = [tuple(channel / 255 for channel in colour) for colour in palette(len(classes))]
    for cell in cells.flat:
        cell.axis('off')
    for cell, tile in zip(cells.flat, tiles, strict=False):
        _draw_tile(cell, tile, classes, colours, resizing)
    on_sheet = [tile.data.labels(classes)[tile.data.image_index == tile.row] for tile in tiles]
    shown = sorted(set(np.concatenate(on_sheet).tolist()) - {-1})[:MOST_IN_LEGEND]
    entries = [Patch(color=colours[label], label=classes[label]) for label in shown]
    entries.append(Patch(fill=False, linestyle='--', label='not trained on'))
    figure.legend(handles=entries, loc='outside lower center', ncols=min(len(entries), 9), fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def choose(data: Annotations, folder: Path, classes: Sequence[str], number: int) -> list[tuple[int, str]]:
    """Rows of readable pictures worth looking at, and why."""
    chosen: dict[int, str] = {}
    for row, reason in _wanted(data, classes):
        if len(chosen) < number and row not in chosen and not read_header(folder / data.images[row]['file_name']).fault:
            chosen[row] = reason
    return list(chosen.items())


def _wanted(data: Annotations, classes: Sequence[str]) -> Iterator[tuple[int, str]]:
    if not len(data.images):
        return
    turned = [row for row, item in enumerate(data.boxes) if not (np.isfinite(item).all() and (item[2:] > 0).all())]
    counts = objects_per_picture(data, classes)
    yield int(np.argmax(counts)), 'the fullest'
    for index in turned[:1]:
        if data.image_index[index] >= 0:
            yield int(data.image_index[index]), 'with a box that is none'
    valid = (data.image_index >= 0) & (data.boxes[:, 2:] > 0).all(axis=1) & data.counted
    if valid.any():
        indices = np.flatnonzero(valid)
        areas = data.boxes[indices, 2] * data.boxes[indices, 3]
        yield int(data.image_index[indices[np.argmin(areas)]]), 'with the smallest object'
        yield int(data.image_index[indices[np.argmax(areas)]]), 'with the largest object'
    labels = data.labels(classes)
    per_class = np.bincount(labels[labels >= 0], minlength=len(classes))
    for label in np.argsort(per_class, kind='stable').tolist()[: TRAIN_PICTURES // 2]:
        on_picture = np.bincount(data.image_index[(labels == label) & valid], minlength=len(data.images))
        if on_picture.any():
            yield int(np.argmax(on_picture)), f'with most of {classes[label]}'
    for row in np.linspace(0, len(data.images) - 1, 4 * TRAIN_PICTURES).round().astype(int).tolist():
        yield row, ''


def _height_to_width(tile: Tile) -> float:
    image = tile.data.images[tile.row]
    return image['height'] / image['width'] if image['width'] else 1.0


def _draw_tile(
    axes: Axes, tile: Tile, classes: Sequence[str], colours: Sequence[tuple[float, ...]], resizing: Resizing
) -> None:
    image = tile.data.images[tile.row]
    # The loader of mmdet's LoadImageFromFile: what the sheet shows is what is trained on, EXIF tags included.
    picture = mmcv.imread(str(tile.folder / image['file_name']), channel_order='rgb')
    (factors,) = resizing.factors(np.array([picture.shape[1::-1]], dtype=float))
    width, height = (factors * picture.shape[1::-1]).round().astype(int).tolist()
    axes.imshow(mmcv.imresize(picture, (width, height)))
    indices = np.flatnonzero(tile.data.image_index == tile.row)
    labels = tile.data.labels(classes)
    few = len(indices) <= MOST_NAMES
    for index in indices.tolist():
        x, y, w, h = tile.data.boxes[index] * np.tile(factors, 2)
        if not np.isfinite([x, y, w, h]).all():
            continue
        trained = labels[index] >= 0 and tile.data.counted[index] and w > 0 and h > 0
        colour = colours[labels[index]] if labels[index] >= 0 else (0.5, 0.5, 0.5)
        for edge, width in (('white', 2.4), (colour, 1.4)):
            axes.add_patch(
                Rectangle((x, y), w, h, fill=False, edgecolor=edge, linewidth=width, linestyle='-' if trained else '--')
            )
        if labels[index] >= 0 and (few or len(classes) > len(COLOURS)):
            above = y > NAME_HEIGHT * height
            axes.text(
                max(x, 0),
                max(y, 0),
                classes[labels[index]],
                fontsize=7 if few else 5,
                color='white',
                va='bottom' if above else 'top',
                clip_on=True,
                bbox=dict(facecolor=colour, edgecolor='none', pad=0.8),
            )
    title = f'{tile.split}: {Path(image["file_name"]).name}, {len(indices)} objects'
    axes.set_title(title + (f'\n{tile.reason}' if tile.reason else '\n'), fontsize=8)
