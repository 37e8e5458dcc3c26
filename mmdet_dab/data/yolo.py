"""YOLO: a text file for each image, a line ``class cx cy w h`` for each object.

Numbers are fractions of the image. Names of the classes stand in a file beside: ``data.yaml``
(Ultralytics), ``classes.txt`` (labelImg), ``obj.names`` (Darknet). A line with more numbers is the
outline of an object, ``class x1 y1 x2 y2 x3 y3 …``; its box is taken.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.files import read_lines, read_text
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.errors import DataError, listed, plural
from mmdet_dab.media_files import files_below, is_leftover

#: Text files in a folder of labels that are none.
NOT_LABELS = ('classes.txt', 'labels.txt', 'notes.txt', 'train.txt', 'val.txt', 'valid.txt', 'test.txt')
#: Without types: a class may be called 007, no or null. The compiled one is ten times as fast.
LOADER = getattr(yaml, 'CBaseLoader', yaml.BaseLoader)
#: How far above the folder of labels a file with names is looked for: dataset/labels/train.
LEVELS = 3


def label_files(folder: Path) -> list[Path]:
    """The text files with labels in a folder, and in its folders."""
    return [
        path
        for path in files_below(folder, ('.txt',))
        if path.name.lower() not in NOT_LABELS and not path.name.lower().startswith('readme')
    ]


def read_yolo(
    folder: Path, images: ImageFolder, classes: Sequence[str] | None, every_image: bool = True
) -> Annotations:
    """Read a folder of text files, and those in its folders.

    Args:
        folder: of the text files.
        images: where they lie. An image with an empty text file has no objects.
        classes: names of class 0, 1 and so on; needed where no file with names is found, else the
            same.
        every_image: an image without a text file counts, as one without objects; else it is of
            another split.

    Returns:
        boxes in pixels of the images as they are loaded; also those of text files without an image,
        in pixels of nothing.

    Raises:
        DataError: names are not known, not those of the file, or too few; a line is not understood;
            a file may mean several images.
    """
    names = _class_names(folder, classes)
    entries: list[dict[str, Any]] = []
    found: list[tuple[int, str, dict[str, Any], str]] = []
    outlines = bare = 0
    for number, (file_name, path) in enumerate(_pairs(folder, images, every_image), start=1):
        width, height = (images.size(file_name) if file_name in images.files else None) or (0, 0)
        entries.append(dict(id=number, file_name=file_name, width=width, height=height))
        if path is None:
            bare += 1
            continue
        place_of_file = path.relative_to(folder)
        for line, label, (x, y, w, h), is_outline in _read_lines(path, names):
            box = [x * width, y * height, w * width, h * height]
            outlines += is_outline
            place = f'{place_of_file}, line {line}'
            found.append((number, names[label], dict(bbox=box, iscrowd=0), place))
    numbered = [f'{number} {name}' for number, name in enumerate(names)]
    changes = [
        f'{plural(len(entries) - bare, "file")}, {plural(len(found), "object")}; classes are {listed(numbered, 20)}',
        *([f'{plural(bare, "image")} without a text file: counted as without objects'] if bare else []),
        *([f'{plural(outlines, "outline")} turned into boxes'] if outlines else []),
    ]
    return Annotations.numbered(folder, entries, found, names, changes, [entry['id'] for entry in entries])


def _pairs(folder: Path, images: ImageFolder, every_image: bool) -> Iterator[tuple[str, Path | None]]:
    """Images with their text files, in the order of the images; a text file without one comes last."""
    files = defaultdict(list)
    for path in label_files(folder):
        names = images.match(path.stem, path, folder)
        if len(names) > 1:
            raise DataError(
                f'{path}: it may be of {listed(names)} in {images.folder}. Keep text files in folders of the same '
                'names as the images, or give each image a name of its own.'
            )
        files[names[0] if names else path.relative_to(folder).with_suffix('').as_posix()].append(path)
    for name, paths in files.items():
        if len(paths) > 1:
            raise DataError(f'{name}: several files may be of this image, {listed(paths)}. Keep one of them.')
    for name in images.files:
        if name in files or every_image:
            yield name, files.pop(name, [None])[0]
    for name, (path,) in files.items():
        yield name, path


def _read_lines(path: Path, names: Sequence[str]) -> Iterator[tuple[int, int, tuple[float, ...], bool]]:
    """Line number, class, x y w h in fractions of the image, and whether it was an outline."""
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        values = _numbers(line, f'{path}, line {number}')
        label = values[0]
        if not (label.is_integer() and 0 <= label < len(names)):  # `in range` tries one after the other
            raise DataError(
                f'{path}, line {number}: there is no class {label:g}, the {plural(len(names), "name")} '
                f'{"is" if len(names) == 1 else "are"} {listed(names)}. Correct the number, or add the name.'
            )
        yield number, int(label), _box(values[1:]), len(values) > 5


def _numbers(line: str, place: str) -> list[float]:
    try:
        values = [float(text) for text in line.split()]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise DataError(f"{place}: '{line.strip()[:80]}' holds what is not a number. Write class, cx, cy, w and h.")
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        why = ' A sixth is the confidence of a prediction: give the ground truth.' if len(values) == 6 else ''
        raise DataError(f'{place}: it has {plural(len(values), "number")}. Write class, cx, cy, w and h.{why}')
    return values


def _box(values: Sequence[float]) -> tuple[float, ...]:
    if len(values) == 4:
        cx, cy, w, h = values
        return cx - w / 2, cy - h / 2, w, h
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


# --- Names of the classes


def _class_names(folder: Path, classes: Sequence[str] | None) -> list[str]:
    for directory in [folder, *folder.resolve().parents[:LEVELS]]:
        for path in sorted(directory.glob('*')):
            names = _names_in(path)
            if names is None:
                continue
            if classes is not None and list(classes) != names:
                raise DataError(
                    f'--classes {" ".join(classes)}: these are not the names in {path}, {listed(names, 20)}, in whose '
                    'order the numbers of the text files count. Leave --classes out, or correct the file.'
                )
            return names
    if classes is None:
        raise DataError(
            f'{folder}: classes are numbers, and neither a data.yaml, a classes.txt nor a .names file lies there or '
            f'in the {LEVELS} folders above. Name the classes in the order of their numbers, --classes NAME …'
        )
    return list(classes)


def _names_in(path: Path) -> list[str] | None:
    """Class names by number, or None for a file that holds none."""
    suffix = path.suffix.lower()
    is_list = path.name.lower() in ('classes.txt', 'labels.txt') or suffix == '.names'
    if not (is_list or suffix in ('.yaml', '.yml')) or is_leftover(path.name) or not os.path.isfile(path):
        return None
    if is_list:
        return [line.strip() for line in read_lines(path) if line.strip()]
    try:
        content = yaml.load(read_text(path), Loader=LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f'{path}: it cannot be read as YAML ({" ".join(str(error).split())}). Correct it.') from error
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, dict):
        names = _in_order(names, path)
    if not isinstance(names, list):
        return None
    if not all(isinstance(name, str) for name in names):
        raise DataError(f'{path}: names holds what is not a name. Write a list of texts.')
    return names


def _in_order(names: dict[str, str], path: Path) -> list[str]:
    """The names of ``{0: name, 1: name, …}``."""
    keys = [str(number) for number in range(len(names))]
    if set(names) != set(keys):
        raise DataError(f'{path}: names has the numbers {listed(names)}. They must count from 0 without a gap.')
    return [names[key] for key in keys]
