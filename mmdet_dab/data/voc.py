"""Pascal VOC: an XML file for each image.

A box is ``annotation/object/bndbox`` with xmin, ymin, xmax and ymax in pixels. Coordinates are
kept as they stand. VOC itself counts pixels from 1; today's annotation tools count from 0 or do not
say, and the difference is one pixel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.files import decode, read_bytes
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.errors import DataError, listed, plural
from mmdet_dab.media_files import files_below

CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
#: The encoding that an XML file declares, in its first bytes.
DECLARED = re.compile(rb'^\s*<\?xml[^>]*\bencoding\s*=\s*["\']([\w.-]+)["\']')
#: How an XML file in UTF-16 without a byte order mark begins.
WIDE_STARTS = {b'<\0': 'utf-16-le', b'\0<': 'utf-16-be'}


def annotation_files(folder: Path) -> list[Path]:
    """The XML files in a folder, and in its folders."""
    return files_below(folder, ('.xml',))


def read_voc(folder: Path, images: ImageFolder, classes: Sequence[str] | None) -> Annotations:
    """Read a folder of XML files, and those in its folders.

    Args:
        folder: of the XML files.
        images: where the images lie. An image is found by ``filename``, else by the name of the
            XML file.
        classes: names in the order that labels shall have; None: those that occur, sorted.

    Returns:
        objects marked ``difficult`` become crowds: as in VOC, finding or missing them does not
        count. Corners in the wrong order are put in order.

    Raises:
        DataError: a file cannot be parsed, lacks a number that is needed, or may mean several
            images.
    """
    entries: list[dict[str, Any]] = []
    found: list[tuple[int, str, dict[str, Any], str]] = []
    unsized: list[int] = []
    renamed = exchanged = 0
    for number, path in enumerate(annotation_files(folder), start=1):
        root = _parse(path)
        said = (root.findtext('filename') or '').strip()
        name = _image_name(said, path, folder, images)
        renamed += name is not None and name != said
        file_name = name or said or path.stem
        size = _stated_size(root, path)
        if size is None:
            unsized.append(number)
            size = (images.size(file_name) if name else None) or (0, 0)
        entries.append(dict(id=number, file_name=file_name, width=size[0], height=size[1]))
        place_of_file = path.relative_to(folder)
        for index, item in enumerate(root.iter('object'), start=1):
            name_of_class = _text(item, 'name', path, index)
            x1, y1, x2, y2 = _corners(item, path, index)
            exchanged += x1 > x2 or y1 > y2
            box = [min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)]
            place = f'{place_of_file}, object {index}'
            found.append((number, name_of_class, dict(bbox=box, iscrowd=_difficult(item)), place))
    names = list(classes) if classes is not None else sorted({name for _, name, _, _ in found})
    difficult = sum(box['iscrowd'] for _, _, box, _ in found)
    changes = [
        f'{plural(len(entries), "file")}, {plural(len(found), "object")}; {difficult:,} marked difficult are ignored, '
        'as in VOC',
        *([f'{plural(exchanged, "box", "boxes")} with xmin > xmax or ymin > ymax put in order'] if exchanged else []),
        *([f'{plural(renamed, "image")} found under another name than the file says'] if renamed else []),
        *([f'{plural(len(unsized), "file")} without a size: that of the image is taken'] if unsized else []),
    ]
    return Annotations.numbered(folder, entries, found, names, changes, unsized)


def _image_name(said: str, path: Path, folder: Path, images: ImageFolder) -> str | None:
    """The image that an XML file is of, relative to the image folder; None where there is none."""
    for name in (said, path.stem):
        names = images.match(name, path, folder) if name else []
        if len(names) > 1:
            raise DataError(
                f'{path}: it may be of {listed(names)} in {images.folder}. Keep annotations in folders of the same '
                'names as the images, or give each image a name of its own.'
            )
        if names:
            return names[0]
    return None


def _parse(path: Path) -> ElementTree.Element:
    content = read_bytes(path)
    text = decode(content, path, _encoding(content))
    # An XML file of VOC declares no document type; one that does may define entities that grow
    # without end, or that are read from other files.
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise DataError(f'{path}: it declares a DOCTYPE, which VOC does not need and which is not read. Take it out.')
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f'{path}: it is not XML, or is cut off ({error}). Export it again.') from error
    if root.tag != 'annotation':
        raise DataError(
            f'{path}: it starts with <{root.tag}>, and a VOC file with <annotation>. Give the folder of VOC files.'
        )
    return root


def _encoding(content: bytes) -> str:
    """The declared encoding; UTF-8 where none is declared."""
    for start, encoding in WIDE_STARTS.items():
        if content.startswith(start):
            return encoding
    declared = DECLARED.match(content)
    name = declared[1].decode('ascii') if declared else 'utf-8'
    # What can be read byte by byte is not in two bytes, whatever the tool that wrote it declares.
    return 'utf-8' if name.lower().startswith(('utf-16', 'utf-32', 'ucs')) else name


def _stated_size(root: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    """Width and height; None where the tool that wrote the file left them out or 0."""
    texts = [(root.findtext(f'size/{name}') or '0').strip() for name in ('width', 'height')]
    try:
        width, height = (int(float(text)) for text in texts)
    except (ValueError, OverflowError) as error:
        raise DataError(f'{path}: the size {" × ".join(texts)} is not a number of pixels. Correct it.') from error
    return (width, height) if width > 0 and height > 0 else None


def _text(item: ElementTree.Element, tag: str, path: Path, index: int) -> str:
    text = (item.findtext(tag) or '').strip()
    if not text:
        raise DataError(f'{path}: object {index} has no <{tag}>. Add it, or take the object out.')
    return text


def _corners(item: ElementTree.Element, path: Path, index: int) -> list[float]:
    texts = [_text(item, f'bndbox/{corner}', path, index) for corner in CORNERS]
    try:
        corners = [float(text) for text in texts]
    except ValueError:
        corners = [math.nan]
    if not all(map(math.isfinite, corners)):
        raise DataError(f'{path}: the box of object {index} is ({", ".join(texts)}). Write four numbers of pixels.')
    return corners


def _difficult(item: ElementTree.Element) -> int:
    return int((item.findtext('difficult') or '0').strip().lower() not in ('0', '', 'false'))
