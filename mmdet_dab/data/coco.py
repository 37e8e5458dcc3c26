"""COCO's annotation files, as they are or completed with what tools write otherwise."""

from __future__ import annotations

import contextlib
import gc
import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmdet_dab.data.annotations import Annotations, is_box
from mmdet_dab.data.files import marked_encoding, read_bytes
from mmdet_dab.errors import DataError, listed

#: What each list must have. What else mmdet asks for can be filled in.
NEEDED = {
    'images': ('id', 'file_name'),
    'annotations': ('image_id', 'category_id'),
    'categories': ('id', 'name'),
}
#: What flags are written as.
FLAGS = {'0': 0, '0.0': 0, 'false': 0, 'none': 0, '': 0, '1': 1, '1.0': 1, 'true': 1}


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which would go through millions of new objects again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def read_coco(path: Path, *, annotated: bool = True) -> Annotations:
    """Read an annotation file as it is, but for outlines, which fill most of it and are not used.

    Args:
        path: the file.
        annotated: refuse one without a list of annotations, as those of COCO's test images are.

    Raises:
        DataError: it is not a COCO annotation file, or an entry lacks what nothing can fill in.
    """
    content, encoding = _read_json(path)
    if not annotated and isinstance(content, dict):
        content.setdefault('annotations', [])
    missing = [key for key in NEEDED if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise DataError(
            f'{path}: it is not a COCO annotation file of objects, it has no list of {" nor of ".join(missing)}. '
            f'{_advice(content)}'
        )
    for key, names in NEEDED.items():
        for number, entry in enumerate(content[key]):
            if not isinstance(entry, dict) or any(not _is_key(entry.get(name)) for name in names):
                raise DataError(f'{path}: {_what_is_wrong(key, number, entry, names)}')
    for key, name in (('images', 'file_name'), ('categories', 'name')):
        for entry in content[key]:
            if not isinstance(entry[name], str) or '\0' in entry[name]:
                raise DataError(f"{path}: '{name}' of id {entry['id']!r} in '{key}' is {entry[name]!r}. Write a text.")
    changes = [] if encoding == 'utf-8' else [f'encoding, from {encoding.upper()} to UTF-8']
    return Annotations(path, content['images'], content['annotations'], content['categories'], changes=changes)


def _read_json(path: Path) -> tuple[Any, str]:
    """The content, and the encoding that it was in."""
    content = read_bytes(path)
    encoding = marked_encoding(content) or json.detect_encoding(content)
    try:
        text = content.decode(encoding)
        del content  # of a large file, its bytes, its text and its objects are not needed at once
        return json.loads(text, object_hook=_without_outline), encoding
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: it is not JSON in UTF-8, or is cut off ({error}). Export it again.') from error


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Take the outline out of an annotation, and keep its box where the annotation has none."""
    outline = entry.pop('segmentation', None)
    if outline and not entry.get('bbox'):
        box = _box_of_outline(outline)
        if box is not None:
            entry['outline_box'] = box
    return entry


def _box_of_outline(outline: Any) -> list[float] | None:
    try:
        xs, ys = ([value for polygon in outline for value in polygon[start::2]] for start in (0, 1))
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    except (TypeError, ValueError, KeyError):  # run-length codes, and what is none of both
        return None


def _is_key(value: Any) -> bool:
    """Whether it can be an id, or a name: a number or a text."""
    kind = type(value)
    return kind is int or kind is str or (kind is float and math.isfinite(value))


def _what_is_wrong(key: str, number: int, entry: Any, names: Sequence[str]) -> str:
    if not isinstance(entry, dict):
        return f"entry {number} of '{key}' is {str(entry)[:80]!r}. Each must have {listed(names)}."
    name = next(name for name in names if not _is_key(entry.get(name)))
    known = f' (id {entry["id"]!r})' if name != 'id' and 'id' in entry else ''
    if entry.get(name) is None:
        return f"entry {number} of '{key}'{known} has no '{name}'. Each must have {listed(names)}."
    return f"'{name}' of entry {number} of '{key}'{known} is {str(entry[name])[:80]!r}. Write a number or a text."


def _advice(content: Any) -> str:
    if isinstance(content, dict) and 'shapes' in content:
        return 'It looks like a file of LabelMe: export it as COCO, VOC or YOLO.'
    if isinstance(content, list):
        return 'It is a list, as predictions or exports of Label Studio are: export it as COCO, VOC or YOLO.'
    return 'Give the file with images, annotations and categories.'


# --- Completing


@_uncollected()
def complete(data: Annotations, size_of: Callable[[str], tuple[int, int] | None]) -> Annotations:
    """What mmdet and COCO's evaluation need: numbers as numbers, nothing missing.

    Text that is a number becomes the number; other ids are numbered from 1; missing, empty or odd
    areas come from the boxes, sizes from the images. ``changes`` says what was done; a file without
    changes can be used as it is.

    Args:
        data: as :func:`read_coco` gives it.
        size_of: gives width and height of an image by its ``file_name``, None for one that cannot
            be read.

    Raises:
        DataError: a flag is neither true nor false.
    """
    count: Counter[str] = Counter()
    new_image_id = _numbering([image['id'] for image in data.images], 'image ids', count)
    new_category_id = _numbering([category['id'] for category in data.categories], 'category ids', count)
    images = [dict(image, id=new_image_id(image['id'])) for image in data.images]
    unsized = frozenset(_complete_sizes(images, size_of, count))
    categories = [dict(category, id=new_category_id(category['id'])) for category in data.categories]
    objects = [_complete_object(item, new_image_id, new_category_id, count) for item in data.objects]
    _number_objects(objects, count)
    for item in objects:
        for flag in ('iscrowd', 'ignore'):
            _complete_flag(item, flag, data.source, count)
    changes = [*data.changes, *(f'{what} ({number:,})' for what, number in count.items())]
    return Annotations(data.source, images, objects, categories, changes=changes, unsized=unsized)


def _numbering(ids: Sequence[Any], what: str, count: Counter[str]) -> Callable[[Any], Any]:
    """A function from the ids of a list, and from references to them, to whole numbers."""
    whole = [_whole(value) for value in ids]
    if None in whole or len(set(whole)) < len(set(ids)):
        count[f'{what}, numbered from 1'] += len(ids)
        numbers: dict[Hashable, int] = {}
        for value in ids:
            numbers.setdefault(value, len(numbers) + 1)
        # What refers to nothing must not meet a new number; the checks tell of it.
        return lambda value: numbers.get(value, value if type(value) is str and _whole(value) is None else -1)

    def converted(value: Any) -> Any:
        if type(value) is int:
            return value
        number = _whole(value)
        if number is None:
            return value
        count[f'{what} to whole numbers'] += 1
        return number

    return converted


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and abs(number) < 2**63 and number == int(number) else None


def _number(value: Any) -> float | int | None:
    """The number that a number or text is; None for anything else."""
    if type(value) is float or (type(value) is int and abs(value) < 2**63):
        return value
    if type(value) is not str or not value.isascii():
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return None


def _complete_sizes(
    images: Sequence[dict[str, Any]], size_of: Callable[[str], tuple[int, int] | None], count: Counter[str]
) -> Iterator[Any]:
    """Ids of the images whose size is taken from the file; others get numbers for texts."""
    for image in images:
        sides = [_number(image.get(side)) for side in ('width', 'height')]
        if all(map(_is_positive, sides)):
            if any(type(image[side]) is str for side in ('width', 'height')):
                image['width'], image['height'] = sides
                count['width and height of images to numbers'] += 1
        else:
            image['width'], image['height'] = size_of(image['file_name']) or (0, 0)
            count['width and height of images, from the files'] += 1
            yield image['id']


def _complete_object(
    item: dict[str, Any], image_id: Callable[[Any], Any], category_id: Callable[[Any], Any], count: Counter[str]
) -> dict[str, Any]:
    item = dict(item, image_id=image_id(item['image_id']), category_id=category_id(item['category_id']))
    box, outline_box = item.get('bbox'), item.pop('outline_box', None)
    if not is_box(box):
        numbers = [_number(value) for value in box] if isinstance(box, list) and len(box) == 4 else [None]
        if None not in numbers:
            item['bbox'] = numbers
            count['boxes to numbers'] += 1
        elif is_box(outline_box):
            item['bbox'] = outline_box
            count['boxes, from outlines'] += 1
    area = item.get('area')
    if type(area) is str:
        area = item['area'] = _number(area)
        count['areas to numbers'] += 1
    if not _is_positive(area):
        _complete_area(item, count)
    return item


def _complete_area(item: dict[str, Any], count: Counter[str]) -> None:
    box: Any = item.get('bbox')
    area = max(0, box[2] * box[3]) if is_box(box) else 0
    if area != item.get('area') or type(item.get('area')) is bool:
        item['area'] = area
        count['areas, from the boxes'] += 1


def _number_objects(objects: Sequence[dict[str, Any]], count: Counter[str]) -> None:
    """Number annotations from 1 unless each has a whole number; nothing refers to them."""
    if any(type(item.get('id')) is not int for item in objects):
        for number, item in enumerate(objects, start=1):
            item['id'] = number
        count['annotation ids, numbered from 1'] += len(objects)


def _complete_flag(item: dict[str, Any], flag: str, source: Path, count: Counter[str]) -> None:
    value = item.get(flag)
    if type(value) is int and value in (0, 1):
        return
    if value is None and flag == 'ignore' and flag not in item:
        return
    number = FLAGS.get(str(value).strip().lower())
    if number is None:
        raise DataError(f"{source}: '{flag}' of annotation {item['id']!r} is {value!r}. Write 0 or 1.")
    item[flag] = number
    count[f"'{flag}' of annotations, to 0 or 1"] += 1


def check_usable(data: Annotations, *, training: bool) -> None:
    """Refuse a file that mmdet would stumble over, or read otherwise than it is meant.

    Args:
        data: as read.
        training: else evaluated, which needs ``iscrowd``, too.

    Raises:
        DataError: names what is missing or of another kind, and where.
    """
    for key, entries, rules in (
        ('images', data.images, (('id', _is_whole), ('width', _is_positive), ('height', _is_positive))),
        ('categories', data.categories, (('id', _is_whole),)),
        (
            'annotations',
            data.objects,
            (
                ('id', _is_whole),
                ('image_id', _is_reference),
                ('category_id', _is_reference),
                ('area', _is_finite),
                ('iscrowd', _is_flag if not training else _is_flag_or_missing),
                ('ignore', _is_flag_or_missing),
            ),
        ),
    ):
        for name, rule in rules:
            wrong = [number for number, entry in enumerate(entries) if not rule(entry.get(name))]
            if wrong:
                first = entries[wrong[0]]
                where = f'id {first["id"]!r}' if first.get('id') is not None else f'entry {wrong[0]}'
                raise DataError(
                    f"{data.source}: mmdet cannot use '{name}' of {len(wrong):,} of {len(entries):,} {key}; "
                    f'of {where} it is {first.get(name)!r}. {CLEAN_COPY}'
                )
    if data.changes:
        raise DataError(f'{data.source}: mmdet cannot read it without a change of {data.changes[0]}. {CLEAN_COPY}')


#: How to fix a file that can be completed.
CLEAN_COPY = '`mmdet-dab new-data` writes a complete copy.'


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_reference(value: Any) -> bool:
    """Whether it means to mmdet what it says: text that is a number is another id than the number."""
    return type(value) is not str or _whole(value) is None


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        return (type(value) is int or type(value) is float) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _is_positive(value: Any) -> bool:
    return _is_finite(value) and value > 0


def _is_flag(value: Any) -> bool:
    return value in (0, 1) and isinstance(value, (int, float))


def _is_flag_or_missing(value: Any) -> bool:
    return value is None or _is_flag(value)
