"""Checks of annotations alone; no picture is opened, so that every training can start with them."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.errors import listed

#: A share of faulty boxes above which the fault lies in the whole file, not in a few boxes.
SYSTEMATIC = 0.05
#: Boxes that reach further than this over the border, in pixels, are told of.
OVERHANG = 2.0
#: mmdet leaves smaller objects out of a training (``CocoDataset.parse_data_info``).
SMALLEST = 1.0


def check_annotations(data: Annotations, *, training: bool) -> list[Finding]:
    """Everything about one split but its classes.

    Args:
        data: complete, as mmdet needs it.
        training: whether it is trained on; else evaluated.

    Raises:
        DataError: a box is not four numbers.
    """
    findings = [*check_ids(data), *_check_references(data)]
    if not training:
        findings += _check_zero_id(data)
    if len(data.objects):
        findings += _check_boxes(data)
        findings += _check_repeated_boxes(data)
    if not data.counted.any():
        findings.append(Finding(data.source, 'there is no object to be found', stops=True))
    return findings


# --- Ids


def _repeated(values: Iterable[object]) -> dict[object, list[int]]:
    """Values that come more than once, with their indices."""
    found = defaultdict(list)
    for index, value in enumerate(values):
        found[value].append(index)
    return {value: indices for value, indices in found.items() if len(indices) > 1}


def check_ids(data: Annotations) -> Iterable[Finding]:
    """Ids of pictures and annotations, and pictures, that repeat."""
    images = _repeated(image['id'] for image in data.images)
    if images:
        places = [
            f'id {key!r}: {listed([data.images[row]["file_name"] for row in rows], 2)}' for key, rows in images.items()
        ]
        yield Finding(
            data.source,
            f'{len(images)} ids of pictures repeat',
            places,
            True,
            'all but one picture of an id would be lost',
        )
    files = _repeated(image['file_name'] for image in data.images)
    if files:
        places = [f'{name}: ids {listed([data.images[row]["id"] for row in rows], 2)}' for name, rows in files.items()]
        mend = 'what one entry marks is background in the other, give each picture one entry'
        yield Finding(data.source, f'{len(files)} pictures are listed more than once', places, True, mend)
    objects = _repeated(item['id'] for item in data.objects)
    if objects:
        later = [row for rows in objects.values() for row in rows[1:]]
        places = [f'id {key!r}: {len(rows)} times' for key, rows in objects.items()]
        yield Finding(
            data.source, f'{len(objects)} ids of annotations repeat', places, True, 'number them anew', objects=later
        )


def _check_zero_id(data: Annotations) -> Iterable[Finding]:
    zero = [index for index, item in enumerate(data.objects) if item['id'] == 0]
    if zero:
        yield Finding(
            data.source,
            "COCO's evaluation takes id 0 for 'not found', so that this object always counts as missed",
            [data.place(index) for index in zero],
            mend='number annotations from 1',
        )


def _check_references(data: Annotations) -> Iterable[Finding]:
    orphans = np.flatnonzero(data.image_index < 0)
    if len(orphans):
        wanted = {data.objects[index]['image_id'] for index in orphans.tolist()}
        other_type = {str(image['id']) for image in data.images} & {str(value) for value in wanted}
        mend = (
            "they would be lost: image_id must be written as the picture's id is, number or text" if other_type else ''
        )
        places = [f'{data.place(index)}: picture {data.objects[index]["image_id"]!r}' for index in orphans.tolist()]
        yield Finding(
            data.source,
            f'{len(orphans)} of {len(data.objects)} annotations are of pictures that are not listed',
            places,
            bool(other_type) or len(orphans) == len(data.objects),
            mend,
            objects=orphans.tolist(),
        )
    known = {category['id'] for category in data.categories}
    strays = [index for index, item in enumerate(data.objects) if item['category_id'] not in known]
    if strays:
        places = [f'{data.place(index)}: category {data.objects[index]["category_id"]!r}' for index in strays]
        yield Finding(
            data.source,
            f'{len(strays)} annotations have a category that is not listed',
            places,
            True,
            f'they would be lost, categories are {listed(sorted(known, key=str), 10)}',
            objects=strays,
        )


# --- Boxes


def _check_boxes(data: Annotations) -> Iterable[Finding]:
    boxes = data.boxes
    infinite = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(infinite):
        yield _box_finding(data, infinite, 'are not finite', True, 'they make the loss NaN')
    known = (data.image_index >= 0) & np.isfinite(boxes).all(axis=1)
    known &= (data.sizes[data.image_index] > 0).all(axis=1)  # pictures of unknown size are told of elsewhere
    if not known.any():
        return
    x, y, w, h = boxes.T
    width, height = data.sizes[data.image_index].T
    flat = known & ((w <= 0) | (h <= 0))
    outside = known & ~flat & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    overhang = np.maximum.reduce([-x, -y, x + w - width, y + h - height])
    partly = known & ~flat & ~outside & (overhang > OVERHANG)
    tiny = known & ~flat & ~outside & ((w < SMALLEST) | (h < SMALLEST))
    no_area = known & ~flat & ~outside & ~tiny & np.array([item['area'] <= 0 for item in data.objects])
    guess = _guess_format(boxes[known], width[known], height[known])
    for mask, words, mend in (
        (
            flat,
            'are empty or inverted (w or h not above 0)',
            'no training sees them, and an evaluation counts them as missed',
        ),
        (outside, 'lie outside their picture', 'no training sees them, and an evaluation counts them as missed'),
        (no_area, "have an 'area' of 0 in the file", 'mmdet leaves them out of a training'),
        (tiny, f'are less than {SMALLEST:g} pixel wide or high', 'mmdet leaves them out of a training'),
    ):
        if mask.any():
            share = mask.sum() / known.sum()
            yield _box_finding(data, np.flatnonzero(mask), words, share > SYSTEMATIC, guess or mend)
    if partly.any():
        words = f'reach more than {OVERHANG:g} pixels over the border of their picture'
        systematic = bool(guess) and partly.sum() / known.sum() > SYSTEMATIC
        yield _box_finding(data, np.flatnonzero(partly), words, systematic, guess or 'they are cut there', drop=False)


def _box_finding(
    data: Annotations, indices: np.ndarray, words: str, stops: bool, mend: str, drop: bool = True
) -> Finding:
    shown = [f'{data.place(row)}: {" ".join(f"{value:g}" for value in data.boxes[row])}' for row in indices.tolist()]
    what = f'{len(indices)} of {len(data.objects)} boxes {words}'
    return Finding(data.source, what, shown, bool(stops), mend, objects=indices.tolist() if drop else ())


def _guess_format(boxes: np.ndarray, width: np.ndarray, height: np.ndarray) -> str:
    """What boxes that do not fit their pictures may be instead of x y w h in pixels."""
    x, y, w, h = boxes.T
    if len(boxes) > 1 and (boxes <= 1.5).all() and (boxes >= -0.5).all():
        return 'all numbers lie between 0 and 1, they look like parts of the picture, and pixels are needed'
    over = ((x + w > width + OVERHANG) | (y + h > height + OVERHANG)).mean()
    if over > SYSTEMATIC and ((w >= x) & (h >= y) & (w <= width + OVERHANG) & (h <= height + OVERHANG)).mean() > 0.99:
        return 'they look like corners x1, y1, x2, y2, and x, y, width, height are needed'
    turned = (x + w <= height + OVERHANG) & (y + h <= width + OVERHANG)
    if over > SYSTEMATIC and turned.mean() > 0.99:
        return 'they fit when width and height are exchanged: were the pictures turned after they were annotated?'
    return ''


def _check_repeated_boxes(data: Annotations) -> Iterable[Finding]:
    repeated = _repeated((item['image_id'], item['category_id'], *item['bbox']) for item in data.objects)
    later = [row for rows in repeated.values() for row in rows[1:]]
    if later:
        yield Finding(
            data.source,
            f'{len(later)} objects are marked twice, with the same class and box',
            [data.place(index) for index in later],
            mend='only one of each pair can be found',
            objects=later,
        )


# --- Classes


def check_categories(data: Annotations) -> list[Finding]:
    """Ids and names that repeat."""
    findings = []
    for key, words in (('id', 'ids'), ('name', 'names')):
        repeated = _repeated(category[key] for category in data.categories)
        if repeated:
            places = [f'{value!r}: {len(rows)} times' for value, rows in repeated.items()]
            findings.append(Finding(data.source, f'{words} of categories repeat', places, True, 'each class needs one'))
    return findings


def check_classes(data: Annotations, classes: Sequence[str]) -> list[Finding]:
    """Whether a training on ``classes`` gets the labels it thinks: mmdet numbers them in the order of the file.

    A name that the file does not have is silently left out by mmdet, and shifts all labels behind it.
    """
    names = data.names()
    unknown = [name for name in classes if name not in names]
    if unknown:
        near = [f"'{name}'{did_you_mean(name, names)}" for name in unknown]
        what = f'there is no category {listed(near)}'
        return [Finding(data.source, what, stops=True, mend=f'its categories are {listed(names, 20)}')]
    order = [name for name in names if name in classes]
    if order != list(classes):
        what = f'classes are in the order {listed(classes, 20)}, the categories of the file are not'
        mend = f'mmdet numbers labels by the file, put its categories into that order or write classes={tuple(order)!r}'
        return [Finding(data.source, what, stops=True, mend=mend)]
    left_out = Counter(data.labels(classes).tolist())[-1]
    if left_out:
        others = [name for name in names if name not in classes]
        what = f'{left_out} of {len(data.objects)} objects are of categories that are not asked for'
        return [Finding(data.source, what, others, mend='they count as background')]
    return []


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """The category that was probably meant, in words."""
    folded = {other.strip().lower(): other for other in names}
    near = difflib.get_close_matches(name.strip().lower(), folded, n=1)
    return f" (but '{folded[near[0]]}')" if near else ''


def objects_per_picture(data: Annotations, classes: Sequence[str] | None = None) -> np.ndarray:
    """(I,) int: objects of the classes to be found on each picture."""
    valid = data.counted & (data.image_index >= 0)
    if classes is not None:
        valid &= data.labels(classes) >= 0
    return np.bincount(data.image_index[valid], minlength=len(data.images))


def check_queries(
    data: Annotations, classes: Sequence[str], num_queries: int, what: str = 'num_queries'
) -> list[Finding]:
    """More objects on a picture than predictions: the rest can never be found."""
    counts = objects_per_picture(data, classes)
    crowded = np.flatnonzero(counts > num_queries)
    if not len(crowded):
        return []
    places = [
        f'{data.images[row]["file_name"]}: {counts[row]}' for row in crowded[np.argsort(-counts[crowded])].tolist()
    ]
    return [
        Finding(
            data.source,
            f'{len(crowded)} of {len(counts)} pictures have more objects than {what}={num_queries}',
            places,
            len(crowded) > max(1, SYSTEMATIC * len(counts)),
            f'the rest can never be found, set {what} to {int(counts.max())} or more',
        )
    ]
