"""Boxes that were marked on stored pixels, brought to the images as they are loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmdet_dab.data.annotations import Annotations, is_box
from mmdet_dab.data.images import Header, ImageFolder, turned_box
from mmdet_dab.errors import plural


def orientation_is_open(data: Annotations, row: int, header: Header) -> bool:
    """Whether an image turns when it is loaded, and no size tells what its boxes were marked on."""
    image = data.images[row]
    told = (
        image['id'] not in data.unsized
        and header.orientation >= 5
        and header.width != header.height
        and (image['width'], image['height']) in (header.stored_size, header.loaded_size)
    )
    return not header.problem and header.orientation != 1 and not told


def on_loaded_images(data: Annotations, images: ImageFolder, *, relative: bool) -> Annotations:
    """Turn boxes and sizes with the EXIF orientation of their images.

    Images whose stated size is that of the loaded image only were annotated so, and are left alone.

    Args:
        data: one split.
        images: its image folder.
        relative: the source has fractions of the image, which were multiplied by the loaded size.
    """
    turned: dict[int, Header] = {}
    for row, image in enumerate(data.images):
        header = images.header(image['file_name'])
        stored = (image['width'], image['height']) == header.stored_size
        if not header.problem and header.orientation != 1 and (stored or orientation_is_open(data, row, header)):
            turned[row] = header
    if not turned:
        return data
    objects: list[dict[str, Any]] = []
    for item, row in zip(data.objects, data.image_index.tolist(), strict=True):
        if row in turned and is_box(item['bbox']):
            image, header = data.images[row], turned[row]
            pixels = image['id'] in data.unsized and not relative
            size = header.stored_size if pixels else (image['width'], image['height'])
            item = dict(item, bbox=turned_box(item['bbox'], size, header))
        objects.append(item)
    entries = [dict(image) for image in data.images]
    for row, header in turned.items():
        entries[row]['width'], entries[row]['height'] = header.loaded_size
    changes = [*data.changes, f'boxes of {plural(len(turned), "image")} turned with the EXIF orientation']
    return replace(data, images=entries, objects=objects, changes=changes)
