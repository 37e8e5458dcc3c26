"""COCO's annotation files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.errors import DataError, listed

#: What each list must have. What else COCO's API asks for can be filled in.
NEEDED = {
    'images': ('id', 'file_name'),
    'annotations': ('image_id', 'category_id', 'bbox'),
    'categories': ('id', 'name'),
}


def read_coco(path: Path, *, annotated: bool = True) -> Annotations:
    """Read an annotation file as it is.

    Args:
        path: the file.
        annotated: refuse one without a list of annotations, as those of COCO's test pictures are.

    Raises:
        DataError: the file is no COCO annotation file, or an entry lacks what nothing can fill in.
    """
    content = _read_json(path)
    if not annotated and isinstance(content, dict):
        content.setdefault('annotations', [])
    missing = [key for key in NEEDED if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise DataError(
            f'{path} is not a COCO annotation file of objects, it has no list of {" nor of ".join(missing)}'
            f'{_guess(content)}'
        )
    for key, names in NEEDED.items():
        for number, entry in enumerate(content[key]):
            lacking = [name for name in names if not isinstance(entry, dict) or entry.get(name) is None]
            if lacking:
                known = f' (id {entry["id"]!r})' if isinstance(entry, dict) and 'id' in entry else ''
                raise DataError(f"{path}: entry {number} of '{key}'{known} has no '{lacking[0]}'")
    for category in content['categories']:
        if not isinstance(category['name'], str):
            raise DataError(f'{path}: the name of category {category["id"]!r} is {category["name"]!r}, not a text')
    return Annotations(path, content['images'], content['annotations'], content['categories'])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f'{path} is no JSON, or cut off: {error}') from error


def _guess(content: Any) -> str:
    if isinstance(content, dict) and 'shapes' in content:
        return ': it looks like a file of LabelMe, export it as COCO, VOC or YOLO'
    if isinstance(content, list):
        return ': it is a list, as predictions or exports of Label Studio are, export it as COCO, VOC or YOLO'
    return ''


def fill_in(data: Annotations, size_of: Callable[[str], tuple[int, int] | None]) -> Annotations:
    """Add what mmdet and COCO's evaluation ask for and files made by hand often leave out.

    Args:
        data: as read.
        size_of: gives width and height of a picture by its ``file_name``, None for one that cannot be read.
    """
    filled = []
    images, objects = [dict(image) for image in data.images], [dict(item) for item in data.objects]
    unsized = [image for image in images if not (image.get('width') and image.get('height'))]
    for image in unsized:
        image['width'], image['height'] = size_of(image['file_name']) or (0, 0)
    if unsized:
        filled.append(f'width and height of {len(unsized)} pictures, from the files')
    unnamed = [item for item in objects if item.get('id') is None]
    if unnamed:
        for number, item in enumerate(objects):
            item['id'] = number + 1
        filled.append(f'ids of {len(objects)} annotations, from 1 ({len(unnamed)} had none)')
    for key, words, value in (
        ('area', 'area', lambda item: float(item['bbox'][2] * item['bbox'][3])),
        ('iscrowd', 'iscrowd = 0', lambda item: 0),
    ):
        lacking = [item for item in objects if item.get(key) is None]
        for item in lacking:
            item[key] = value(item)
        if lacking:
            filled.append(f'{words} of {len(lacking)} annotations')
    if not filled:
        return data
    return Annotations(data.source, images, objects, data.categories, data.places, filled)


def check_complete(data: Annotations, *, training: bool) -> None:
    """Refuse a file that mmdet would stumble over while it reads it.

    Args:
        data: as read.
        training: else evaluated, which needs ``iscrowd``, too.

    Raises:
        DataError: names what is missing, and where.
    """
    for key, entries, names in (
        ('images', data.images, ('width', 'height')),
        ('annotations', data.objects, ('id', 'area') if training else ('id', 'area', 'iscrowd')),
    ):
        for name in names:
            lacking = [entry.get('id', number) for number, entry in enumerate(entries) if entry.get(name) is None]
            if lacking:
                raise DataError(
                    f"{data.source}: {len(lacking)} of {len(entries)} {key} have no '{name}' ({listed(lacking)}): "
                    'tools/new_dataset.py writes a file with it'
                )
