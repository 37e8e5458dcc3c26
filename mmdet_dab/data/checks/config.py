"""The cheap checks with which a training run or a test of any config starts."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import check_annotations
from mmdet_dab.data.checks.classes import check_categories, check_classes
from mmdet_dab.data.checks.finding import Finding, Places, are
from mmdet_dab.data.checks.recipe import check_queries
from mmdet_dab.data.coco import CLEAN_COPY, check_usable, read_coco
from mmdet_dab.data.files import marked_encoding, read_lines
from mmdet_dab.data.images import read_header
from mmdet_dab.errors import DataError, listed, plural, shown

#: Larger files are read for their categories only, so that a start takes a second or two: 10 MB
#: take half a second.
LARGEST = 20_000_000
#: Images that are looked for, evenly spaced, and the first of them whose headers are read.
MOST_LOOKED_FOR, HEADERS = 20_000, 20
#: How often a large file may have the word before the list of categories is found.
MOST_TRIES = 20
#: Datasets that read COCO files as ``CocoDataset`` does.
COCO_TYPES = ('CocoDataset', 'mmdet.CocoDataset')


def check_config(cfg: Mapping[str, Any], splits: Sequence[str]) -> list[Finding]:
    """Check every annotation file of COCO's kind that a config names.

    Args:
        cfg: of a training run.
        splits: of ``train``, ``val`` and ``test``.

    Returns:
        warnings and errors.

    Raises:
        DataError: a file cannot be read, or lacks what mmdet needs.
    """
    findings: list[Finding] = []
    all_classes = []
    for split in splits:
        node = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        findings += _check_joined(node, f'{split}_dataloader.dataset')
        for dataset in _coco_datasets(node):
            path = Path(dataset.get('data_root') or '') / dataset['ann_file']
            if dataset.get('backend_args') or ':/' in str(path):
                continue
            classes = _classes(dataset)
            all_classes.append((f'{split}_dataloader', classes))
            data = _read(path, annotated=split != 'test')
            findings += [*check_categories(data), *_check_names(data, dataset, classes, training=split == 'train')]
            findings += _check_palette(cfg, dataset, classes)
            if data.images and (data.objects or split != 'test'):
                findings += _check_whole(data, dataset, cfg.get('model') or {}, classes, training=split == 'train')
            if split != 'train':
                findings += _check_evaluator(cfg.get(f'{split}_evaluator'), split, data, classes)
    findings += _check_numbers(cfg, all_classes)
    return list({str(finding): finding for finding in findings}.values())


def _check_names(
    data: Annotations, dataset: Mapping[str, Any], classes: Sequence[str], *, training: bool
) -> list[Finding]:
    findings = check_classes(data, classes, training=training)
    if 'classes' in (dataset.get('metainfo') or {}):
        return findings
    return [
        replace(one, fix=f"{one.fix}; the config names no metainfo=dict(classes=...), which means COCO's 80 classes")
        if one.stops
        else one
        for one in findings
    ]


def _check_whole(
    data: Annotations, dataset: Mapping[str, Any], model: Mapping[str, Any], classes: Sequence[str], *, training: bool
) -> list[Finding]:
    """What can be said of a file that was read to its end."""
    check_usable(data, training=training)
    return [
        *check_annotations(data, training=training),
        *_check_images(data, dataset),
        *_check_model(model, data, classes, training),
    ]


def _check_evaluator(evaluator: Any, split: str, data: Annotations, classes: Sequence[str]) -> list[Finding]:
    """An evaluator that reads its ground truth from another file than the dataset."""
    findings = []
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator or {}]:
        path = metric.get('ann_file')
        if not path or ':/' in path or not Path(path).is_file() or Path(path).resolve() == data.source.resolve():
            continue
        other = _read(Path(path))
        findings += check_classes(other, classes, training=False)
        names = {image['id']: image['file_name'] for image in other.images}
        foreign = [image['file_name'] for image in data.images if names.get(image['id']) != image['file_name']]
        if foreign and other.images:
            what = f'{len(foreign):,} of {plural(len(data.images), "image")} {are(len(foreign))} not in {path}, '
            what += 'by which they are evaluated'
            fix = f'Set {split}_evaluator.ann_file to the file of {split}_dataloader'
            findings.append(Finding(data.source, what, foreign, True, fix))
    return findings


def _check_numbers(cfg: Mapping[str, Any], all_classes: Sequence[tuple[str, Sequence[str]]]) -> list[Finding]:
    """The same classes everywhere, and a row of the class branch for each."""
    findings = []
    for key, classes in all_classes:
        first_key, first = all_classes[0]
        if classes != first:
            what = f'classes of {key} are {listed(classes, 20)}, those of {first_key} {listed(first, 20)}'
            findings.append(Finding('config', what, stops=True, fix='Use the same ones in the same order'))
    model = cfg.get('model') or {}
    head = model.get('bbox_head') or {}
    key, rows = (
        ('bbox_head.num_classes', head['num_classes'])
        if 'num_classes' in head
        else ('num_classes', model.get('num_classes'))
    )
    if all_classes and isinstance(rows, int) and rows != len(all_classes[0][1]):
        classes = all_classes[0][1]
        what = f'model.{key} is {rows}, and there {are(len(classes))} '
        what += plural(len(classes), 'class', 'classes')
        findings.append(Finding('config', what, [*classes], True, 'Set it to their number'))
    return findings


def _check_joined(node: Any, key: str) -> Iterator[Finding]:
    """Datasets that are joined, and cannot be: mmengine wants equal metainfo."""
    if not isinstance(node, Mapping):
        return
    yield from _check_joined(node.get('dataset'), f'{key}.dataset')
    parts = node.get('datasets')
    if not isinstance(parts, (list, tuple)):
        return
    for number, part in enumerate(parts):
        yield from _check_joined(part, f'{key}.datasets.{number}')
    infos = [_metainfo(part) for part in parts if isinstance(part, Mapping) and part.get('type') in COCO_TYPES]
    ignored = node.get('ignore_keys') or ()
    ignored = {ignored} if isinstance(ignored, str) else set(ignored)
    for name in sorted({name for info in infos for name in info} - ignored):
        values = [info.get(name) for info in infos]
        if any(type(value) is not type(values[0]) or value != values[0] for value in values):
            what = f"the joined datasets differ in metainfo '{name}'"
            fix = f"Give all of them the same, or write ignore_keys=['{name}'] beside datasets"
            yield Finding(key, what, stops=True, fix=fix)


def _check_palette(cfg: Mapping[str, Any], dataset: Mapping[str, Any], classes: Sequence[str]) -> Iterator[Finding]:
    """Fewer colours than classes: drawing the first validation would fail."""
    palette = _metainfo(dataset).get('palette')
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if hook.get('draw') and isinstance(palette, list) and len(palette) < len(classes):
        what = f'metainfo.palette has {plural(len(palette), "colour")} for {len(classes)} classes'
        what += '' if 'palette' in (dataset.get('metainfo') or {}) else ": COCO's, since the config names none"
        yield Finding('config', what, stops=True, fix="Write a colour for each, or palette='random'")


def _metainfo(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """As ``CocoDataset`` completes it."""
    return {**CocoDataset.METAINFO, **(dataset.get('metainfo') or {})}


def _coco_datasets(node: Any) -> Iterator[Mapping[str, Any]]:
    """The datasets of COCO's kind in a dataset that may be wrapped or joined."""
    if isinstance(node, Mapping):
        if node.get('type') in COCO_TYPES and node.get('ann_file'):
            yield node
        for key in ('dataset', 'datasets'):
            yield from _coco_datasets(node.get(key))
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _coco_datasets(item)


def _classes(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """Names that the config gives, in it or in a file with a name on each line; else COCO's.

    Raises:
        DataError: they are one text, whose letters would become classes.
    """
    classes = _metainfo(dataset)['classes']
    if isinstance(classes, str) and os.path.isfile(classes):
        lines = read_lines(Path(classes))
        return tuple(lines[:-1] if not lines[-1] else lines)
    if isinstance(classes, str):
        raise DataError(
            f"metainfo: classes='{classes}' is a text, not a sequence of names. For one class, write "
            f"classes=('{classes}',) with its comma."
        )
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise DataError(f'metainfo: classes={shown(classes)} are not names. Write a sequence of texts.')
    return tuple(classes)


def _read(path: Path, *, annotated: bool = True) -> Annotations:
    """All of a file, or the categories of a large one."""
    if not os.path.isfile(path) or path.stat().st_size <= LARGEST:
        return read_coco(path, annotated=annotated)
    return _only_categories(path)


def _only_categories(path: Path) -> Annotations:
    """The list of categories, found in the bytes without reading the rest.

    Raises:
        DataError: there is none.
    """
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        encoding = marked_encoding(content[:4])
        if encoding:
            raise DataError(f'{path}: mmdet cannot read it without a change of encoding. {CLEAN_COPY}')
        position = len(content)
        for _ in range(MOST_TRIES):
            position = content.rfind(b'"categories"', 0, position)
            if position < 0:
                break
            found = _categories_at(content, position)
            if found is not None:
                return Annotations(path, [], [], found)
    whole = read_coco(path)  # odd, but perhaps right
    return Annotations(path, [], [], whole.categories)


def _categories_at(content: mmap.mmap, position: int) -> list[dict[str, Any]] | None:
    """The list behind the word; None where it is not one of categories."""
    start = content.find(b'[', position)
    try:
        # 16 MB hold a list of some 100,000 categories.
        text = content[start : start + (1 << 24)].decode('utf-8', 'ignore')
        found, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    right = isinstance(found, list) and all(
        isinstance(item, dict) and isinstance(item.get('name'), str) and isinstance(item.get('id'), (int, float))
        for item in found
    )
    return found if right else None


def _check_images(data: Annotations, dataset: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the image files are there and have content, and the first ones are images."""
    folder = Path(dataset.get('data_root') or '') / ((dataset.get('data_prefix') or {}).get('img', ''))
    at_most = MOST_LOOKED_FOR if dataset.get('indices') is None else HEADERS  # of a part, the first ones are there
    rows = np.linspace(0, len(data.images) - 1, min(len(data.images), at_most)).round().astype(int).tolist()
    if at_most == HEADERS:
        rows = list(range(min(len(data.images), HEADERS)))
    sizes = {row: _file_size(folder / data.images[row]['file_name']) for row in rows}
    missing = [row for row, size in sizes.items() if size is None]
    if missing:
        what = f'{len(missing):,} of {plural(len(rows), "image")} {are(len(missing))} not in {folder}'
        places = Places(missing, lambda row: data.images[row]['file_name'])
        yield Finding(data.source, what, places, True, 'Correct data_prefix.img, or the names in the file')
    there = [row for row, size in sizes.items() if size is not None]
    headers = {row: read_header(folder / data.images[row]['file_name']) for row in there[:HEADERS]}
    problems = {row: 'is empty' for row in there if sizes[row] == 0}
    problems |= {row: header.problem for row, header in headers.items() if header.problem}
    if problems:
        what = f'{plural(len(problems), "image")} cannot be used'
        places = Places(list(problems), lambda row: f'{data.image(row)} {problems[row]}')
        yield Finding(data.source, what, places, True, f'Copy them again to {folder}')


def _file_size(path: Path) -> int | None:
    """Bytes of a regular file; None where there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def _check_model(model: Mapping[str, Any], data: Annotations, classes: Sequence[str], training: bool) -> list[Finding]:
    """Objects that more queries, or more predictions, would be needed for."""
    generator = model.get('query_generator') or {}
    generator = generator.get('generator') or generator  # denoising wraps the generator of the queries
    findings = []
    queries = generator.get('num_queries')
    if isinstance(queries, int):
        predictions = queries * max(1, generator.get('num_patterns') or 0)
        findings += check_queries(data, classes, predictions, 'num_queries')
    kept = ((model.get('bbox_head') or {}).get('selection') or {}).get('max_per_img')
    if isinstance(kept, int) and not training:
        findings += check_queries(data, classes, kept, 'bbox_head.selection.max_per_img')
    return findings
