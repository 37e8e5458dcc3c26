"""YOLO: one text file a picture, a line ``class cx cy w h`` for every object, in parts of the picture.

Names of the classes stand in a file beside: ``data.yaml`` (Ultralytics), ``classes.txt`` (labelImg), ``obj.names``
(Darknet). A line with more numbers is the outline of an object, ``class x1 y1 x2 y2 x3 y3 …``; its box is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.images import PictureFolder
from mmdet_dab.data.voc import assemble
from mmdet_dab.errors import DataError, listed

#: Text files in a folder of labels that are none; what they are called elsewhere is up to their tools.
NO_LABELS = ('classes.txt', 'labels.txt', 'notes.txt', 'readme.txt', 'train.txt', 'val.txt', 'valid.txt', 'test.txt')
#: How far above the folder of labels a file with names is looked for: data set/labels/train.
LEVELS = 3


def label_files(folder: Path) -> list[Path]:
    """The text files with labels in a folder, and in its folders."""
    return [path for path in sorted(folder.rglob('*.txt')) if path.name.lower() not in NO_LABELS]


def read_yolo(
    folder: Path, pictures: PictureFolder, classes: Sequence[str] | None, every_picture: bool = True
) -> Annotations:
    """Read a folder of text files, and those in its folders.

    Args:
        folder: of the text files.
        pictures: where they lie. A picture with an empty text file has no objects.
        classes: names of class 0, 1 and so on; needed where no file with names is found, else the same.
        every_picture: a picture without a text file counts, as one without objects; else it is of another split.

    Returns:
        boxes in pixels of the pictures; also of text files without a picture, in pixels of nothing.

    Raises:
        DataError: names are not known, not those of the file, or too few; a line is not understood.
    """
    names = _class_names(folder, classes)
    texts = {path.relative_to(folder).with_suffix('').as_posix(): path for path in label_files(folder)}
    images, found = [], []
    outlines = 0
    pairs = [(key, name) for key, name in _pair(texts, pictures) if every_picture or key is not None]
    for number, (key, file_name) in enumerate(pairs, start=1):
        width, height = (pictures.size(file_name) if file_name in pictures.files else None) or (0, 0)
        images.append(dict(id=number, file_name=file_name, width=width, height=height))
        if key is None:
            continue
        for line, label, (x, y, w, h), outline in _read_lines(texts[key], names):
            box = [x * width, y * height, w * width, h * height]
            outlines += outline
            place = f'{texts[key].relative_to(folder)}, line {line}'
            found.append((number, names[label], dict(bbox=box, iscrowd=0), place))
    numbered = [f'{number} {name}' for number, name in enumerate(names)]
    bare = sum(key is None for key, _ in pairs)
    report = [
        f'{len(texts):,} files, {len(found):,} objects; classes are {listed(numbered, 20)}',
        *([f'{bare} pictures have no text file, and count as pictures without objects'] if bare else []),
        *([f'{outlines} outlines were made boxes'] if outlines else []),
    ]
    return assemble(folder, images, found, names, report)


def _pair(texts: dict[str, Path], pictures: PictureFolder) -> Iterator[tuple[str | None, str]]:
    """Text files with their pictures, by name without suffix; a text file without a picture names itself."""
    left = dict.fromkeys(texts)
    for file_name in pictures.files:
        key = str(Path(file_name).with_suffix('').as_posix())
        key = key if key in texts else Path(key).name
        left.pop(key, None)
        yield (key if key in texts else None), file_name
    for key in left:
        yield key, key


def _read_lines(path: Path, names: Sequence[str]) -> Iterator[tuple[int, int, tuple[float, float, float, float], bool]]:
    """Line number, class, x y w h of the box in parts of the picture, and whether it was an outline."""
    for number, line in enumerate(path.read_text(encoding='utf-8-sig').splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = [float(text) for text in line.split()]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: '{line.strip()}' holds what is no number") from error
        if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
            raise DataError(
                f'{path}, line {number} has {len(values)} numbers: class, cx, cy, w and h are needed'
                + (' (a sixth is the confidence of a prediction, this is no truth)' if len(values) == 6 else '')
            )
        label = values[0]
        if label != int(label) or not 0 <= label < len(names):
            raise DataError(
                f'{path}, line {number}: there is no class {label:g}, the {len(names)} names are {listed(names)}'
            )
        yield number, int(label), _box(values[1:]), len(values) > 5


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        cx, cy, w, h = values
        return cx - w / 2, cy - h / 2, w, h
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _class_names(folder: Path, classes: Sequence[str] | None) -> list[str]:
    for directory in [folder, *folder.resolve().parents[:LEVELS]]:
        for path in sorted(directory.glob('*')):
            names = _names_in(path)
            if names is None:
                continue
            if classes is not None and list(classes) != names:
                raise DataError(
                    f'--classes {" ".join(classes)} are not the names in {path}, {" ".join(names)}: the numbers in the '
                    'text files count in that order; leave --classes out, or mend the file'
                )
            return names
    if classes is None:
        raise DataError(
            f'{folder} has numbers for classes, and neither a data.yaml, a classes.txt nor a .names file lies there or '
            f'in the {LEVELS} folders above: name the classes in the order of their numbers, --classes NAME …'
        )
    return list(classes)


def _names_in(path: Path) -> list[str] | None:
    """Class names by number, or None for a file that holds none."""
    if path.name.lower() in ('classes.txt', 'labels.txt') or path.suffix == '.names':
        return [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    if path.suffix not in ('.yaml', '.yml'):
        return None
    try:
        content: Any = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f'{path} cannot be read as YAML: {error}') from error
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(
                f'{path}: names has the numbers {listed(sorted(names))}, they must count from 0 without a gap'
            )
        names = [names[number] for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else None
