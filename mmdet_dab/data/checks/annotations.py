"""Checks of annotations alone; no image is opened: every training run can start with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mmdet_dab.data.annotations import Annotations, is_box
from mmdet_dab.data.checks.finding import Finding, Places, are
from mmdet_dab.errors import listed, plural

#: A share of unusable boxes above which the error lies in the whole file, not in a few boxes.
SYSTEMATIC = 0.05
#: Boxes that reach further than this over the border, in pixels, are told of.
OVERHANG = 2.0
#: mmdet leaves smaller objects out of a training run (``CocoDataset.parse_data_info``).
SMALLEST = 1.0
#: Odd factors that mix the bits of image, category, x, y, w and h into one number.
HASH = np.random.default_rng(0).integers(2**63, size=6, dtype=np.uint64) * 2 + 1


def check_annotations(data: Annotations, *, training: bool) -> list[Finding]:
    """Everything about one split but its classes.

    Args:
        data: complete, as mmdet needs it.
        training: whether it is trained on; else evaluated.
    """
    findings = [*_check_ids(data), *_check_references(data)]
    if not training:
        findings += _check_zero_id(data)
    if len(data.objects):
        findings += _check_boxes(data)
        findings += _check_repeated_boxes(data)
    if not data.counted.any():
        findings.append(Finding(data.source, 'there is no object to be found', stops=True, fix='Annotate some'))
    return findings


# --- Ids


def _repeated(values: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """Values that come more than once, with their indices."""
    values = list(values)
    if len(set(values)) == len(values):
        return {}
    found = defaultdict(list)
    for index, value in enumerate(values):
        found[value].append(index)
    return {value: indices for value, indices in found.items() if len(indices) > 1}


def _check_ids(data: Annotations) -> Iterator[Finding]:
    """Ids of images and annotations, and images, that repeat."""
    names = [image['file_name'] for image in data.images]
    ids = _repeated(image['id'] for image in data.images)
    if ids:
        places = [f'id {key!r}: {listed([names[row] for row in rows], 2)}' for key, rows in ids.items()]
        fix = 'Give each image an id of its own: all but one image of an id would be lost'
        yield Finding(data.source, plural(len(ids), 'repeated image id'), places, True, fix)
    files = _repeated(names)
    if files:
        places = [f'{name}: ids {listed([data.images[row]["id"] for row in rows], 2)}' for name, rows in files.items()]
        what = f'{plural(len(files), "image")} listed more than once'
        fix = 'Give each image one entry: what one entry marks is background in the other'
        yield Finding(data.source, what, places, True, fix)
    objects = _repeated(item['id'] for item in data.objects)
    if objects:
        later = [row for rows in objects.values() for row in rows[1:]]
        places = [f'id {key!r}: {len(rows)} times' for key, rows in objects.items()]
        what = plural(len(objects), 'repeated annotation id')
        yield Finding(data.source, what, places, True, 'Number the annotations again', objects=later)


def _check_zero_id(data: Annotations) -> Iterator[Finding]:
    zero = [index for index, item in enumerate(data.objects) if item['id'] == 0]
    if zero:
        what = "COCO's evaluation takes id 0 for 'not found', so that this object always counts as missed"
        yield Finding(data.source, what, Places(zero, data.place), fix='Number annotations from 1')


def _check_references(data: Annotations) -> Iterator[Finding]:
    orphans = np.flatnonzero(data.image_index < 0).tolist()
    if orphans:
        what = f'{len(orphans):,} of {plural(len(data.objects), "annotation")} {are(len(orphans))} of unlisted images'
        places = Places(orphans, lambda index: f'{data.place(index)}: image {data.objects[index]["image_id"]!r}')
        fix = 'List the images, or take these annotations out: they would be lost'
        yield Finding(data.source, what, places, len(orphans) == len(data.objects), fix, objects=orphans)
    strays = np.flatnonzero(data.category_index < 0).tolist()
    if strays:
        what = f'{len(strays):,} of {plural(len(data.objects), "annotation")} {are(len(strays))} of unlisted categories'
        places = Places(strays, lambda index: f'{data.place(index)}: category {data.objects[index]["category_id"]!r}')
        known = sorted({category['id'] for category in data.categories}, key=str)
        fix = f'They would be lost; categories are {listed(known, 10)}'
        yield Finding(data.source, what, places, True, fix, objects=strays)


# --- Boxes


def _check_boxes(data: Annotations) -> Iterator[Finding]:
    boxes = data.boxes
    finite = np.isfinite(boxes).all(axis=1)
    infinite = np.flatnonzero(~finite).tolist()
    if infinite:
        fix = 'Write x, y, width, height in pixels: four numbers'
        yield _box_finding(data, infinite, 'not four finite numbers', True, fix)
    known = (data.image_index >= 0) & finite
    known &= (data.sizes[data.image_index] > 0).all(axis=1)  # images of unknown size are told of elsewhere
    if not known.any():
        return
    x, y, w, h = boxes.T
    width, height = data.sizes[data.image_index].T
    flat = known & ((w <= 0) | (h <= 0))
    outside = known & ~flat & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    overhang = np.maximum.reduce([-x, -y, x + w - width, y + h - height])
    partly = known & ~flat & ~outside & (overhang > OVERHANG)
    tiny = known & ~flat & ~outside & ((w < SMALLEST) | (h < SMALLEST))
    without_area = known & ~flat & ~outside & ~tiny & np.array([item['area'] <= 0 for item in data.objects])
    guess = _guess_format(boxes[known], width[known], height[known])
    unseen = 'No training run sees them, and an evaluation counts them as missed'
    left_out = 'mmdet leaves them out of a training run'
    for mask, words, fix in (
        (flat, 'empty or inverted (width or height not above 0)', unseen),
        (outside, 'outside the image', unseen),
        (without_area, "without an area: its 'area' is 0", f'{left_out}; `mmdet-dab new-data` fills it in'),
        (tiny, f'less than {SMALLEST:g} pixel wide or high', left_out),
    ):
        if mask.any():
            systematic = mask.sum() / known.sum() > SYSTEMATIC
            yield _box_finding(data, np.flatnonzero(mask).tolist(), words, systematic, guess or fix)
    if partly.any():
        words = f'more than {OVERHANG:g} pixels over the border of the image'
        systematic = bool(guess) and partly.sum() / known.sum() > SYSTEMATIC
        fix = guess or 'They are cut there'
        yield _box_finding(data, np.flatnonzero(partly).tolist(), words, systematic, fix, drop=False)


def _box_finding(
    data: Annotations, rows: Sequence[int], words: str, stops: bool, fix: str, drop: bool = True
) -> Finding:
    def place(row: int) -> str:
        box: Any = data.objects[row].get('bbox')
        return f'{data.place(row)}: {" ".join(f"{value:g}" for value in box) if is_box(box) else repr(box)[:80]}'

    what = f'{len(rows):,} of {plural(len(data.objects), "box", "boxes")} {are(len(rows))} {words}'
    return Finding(data.source, what, Places(rows, place), bool(stops), fix, objects=rows if drop else ())


def _guess_format(boxes: np.ndarray, width: np.ndarray, height: np.ndarray) -> str:
    """What boxes that do not fit their images may be instead of x y w h in pixels."""
    x, y, w, h = boxes.T
    if len(boxes) > 1 and (boxes <= 1.5).all() and (boxes >= -0.5).all():
        return 'All numbers lie between 0 and 1, as fractions of the image do: write pixels'
    over = ((x + w > width + OVERHANG) | (y + h > height + OVERHANG)).mean()
    if over > SYSTEMATIC and ((w >= x) & (h >= y) & (w <= width + OVERHANG) & (h <= height + OVERHANG)).mean() > 0.99:
        return 'They look like corners x1, y1, x2, y2: write x, y, width, height'
    turned = (x + w <= height + OVERHANG) & (y + h <= width + OVERHANG)
    if over > SYSTEMATIC and turned.mean() > 0.99:
        return 'They fit when width and height are exchanged: were the images turned after they were annotated?'
    return ''


def _check_repeated_boxes(data: Annotations) -> Iterator[Finding]:
    rows = np.column_stack([data.image_index, data.category_index, data.boxes]) + 0.0  # no -0.0
    mixed = (rows.view(np.uint64) * HASH).sum(axis=1)  # equal rows, and next to no others, have equal sums
    order = np.argsort(mixed, kind='stable')  # of equal rows the first one comes first
    same = (rows[order[1:]] == rows[order[:-1]]).all(axis=1) & (rows[order[1:], 0] >= 0)
    later = np.sort(order[1:][same]).tolist()
    if later:
        what = f'{plural(len(later), "object")} marked twice, with the same class and box'
        fix = 'Only one of each pair can be found'
        yield Finding(data.source, what, Places(later, data.place), fix=fix, objects=later)
