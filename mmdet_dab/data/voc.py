"""Pascal VOC: one XML file a picture, ``annotation/object/bndbox`` with xmin, ymin, xmax, ymax in pixels.

Coordinates are kept as they stand. VOC itself counts pixels from 1; today's annotation tools count from 0 or do
not say, and the difference is one pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.images import PictureFolder
from mmdet_dab.errors import DataError

CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


def read_voc(folder: Path, pictures: PictureFolder, classes: Sequence[str] | None) -> Annotations:
    """Read a folder of XML files, and those in its folders.

    Args:
        folder: of the XML files.
        pictures: where the pictures lie. A picture is found by ``filename``, else by the name of the XML file.
        classes: names in the order that labels shall have; None: those that occur, sorted.

    Returns:
        objects marked ``difficult`` become crowds: as in VOC, finding or missing them does not count.

    Raises:
        DataError: a file cannot be parsed, or lacks a number that is needed.
    """
    images: list[dict[str, Any]] = []
    found: list[tuple[int, str, dict[str, Any], str]] = []
    renamed = unsized = 0
    for number, path in enumerate(sorted(folder.rglob('*.xml')), start=1):
        root = _parse(path)
        said = (root.findtext('filename') or '').strip()
        name = pictures.find(said) or pictures.find(path.stem)
        file_name = name or said or path.stem
        renamed += name is not None and name != said
        size = _size(root, path)
        unsized += size is None
        width, height = size or (pictures.size(file_name) if name else None) or (0, 0)
        images.append(dict(id=number, file_name=file_name, width=width, height=height))
        for index, item in enumerate(root.iter('object'), start=1):
            place = f'{path.relative_to(folder)}, object {index}'
            found.append((number, _text(item, 'name', path, index), _box(item, path, index), place))
    names = list(classes) if classes is not None else sorted({name for _, name, _, _ in found})
    difficult = sum(box['iscrowd'] for _, _, box, _ in found)
    report = [
        f'{len(images):,} files, {len(found):,} objects; {difficult} marked difficult are ignored, as in VOC',
        *([f'{renamed} pictures have another name than the file says'] if renamed else []),
        *([f'{unsized} files say no size, that of the picture was taken'] if unsized else []),
    ]
    return assemble(folder, images, found, names, report)


def assemble(
    folder: Path,
    images: list[dict[str, Any]],
    found: Sequence[tuple[int, str, Mapping[str, Any], str]],
    names: Sequence[str],
    report: Sequence[str],
) -> Annotations:
    """Number objects and classes from 1; objects of other classes get a category of their own behind ``names``.

    Args:
        folder: where it was read.
        images: of COCO.
        found: id of the picture, class name, ``bbox`` and ``iscrowd``, and place of each object.
        names: of the classes, in order.
        report: what was made of what, in words.
    """
    others = sorted({name for _, name, _, _ in found} - set(names))
    categories = [dict(id=number, name=name) for number, name in enumerate([*names, *others], start=1)]
    ids = {category['name']: category['id'] for category in categories}
    objects = [
        dict(box, id=number, image_id=image, category_id=ids[name], area=box['bbox'][2] * box['bbox'][3])
        for number, (image, name, box, _) in enumerate(found, start=1)
    ]
    return Annotations(folder, images, objects, categories, [place for *_, place in found], list(report))


def _parse(path: Path) -> ElementTree.Element:
    content = path.read_bytes()
    # An XML of VOC declares no document type; one that does may define entities that grow without end.
    if b'<!DOCTYPE' in content or b'<!ENTITY' in content:
        raise DataError(f'{path} declares a DOCTYPE, which no file of VOC needs and which is not read: take it out')
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise DataError(f'{path} is no XML, or cut off: {error}') from error
    if root.tag != 'annotation':
        raise DataError(f'{path} is no annotation of VOC: it starts with <{root.tag}>, not with <annotation>')
    return root


def _size(root: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    """Width and height; None where the tool that wrote the file left them out or 0."""
    texts = [(root.findtext(f'size/{name}') or '0').strip() for name in ('width', 'height')]
    try:
        width, height = (int(float(text)) for text in texts)
    except ValueError as error:
        raise DataError(f'{path}: the size {" × ".join(texts)} is no number of pixels') from error
    return (width, height) if width > 0 and height > 0 else None


def _text(item: ElementTree.Element, tag: str, path: Path, index: int) -> str:
    text = (item.findtext(tag) or '').strip()
    if not text:
        raise DataError(f'{path}: object {index} has no <{tag}>')
    return text


def _box(item: ElementTree.Element, path: Path, index: int) -> dict[str, Any]:
    texts = [_text(item, f'bndbox/{corner}', path, index) for corner in CORNERS]
    try:
        x1, y1, x2, y2 = map(float, texts)
    except ValueError as error:
        raise DataError(f'{path}: the box of object {index} is ({", ".join(texts)}), not four numbers') from error
    difficult = (item.findtext('difficult') or '0').strip() not in ('0', '')
    return dict(bbox=[x1, y1, x2 - x1, y2 - y1], iscrowd=int(difficult))
