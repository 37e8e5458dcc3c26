"""The cheap checks with which a training or a test of any config starts; no picture is opened."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import check_annotations, check_categories, check_classes, check_queries
from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.data.coco import check_complete, read_coco
from mmdet_dab.errors import DataError, listed

#: Larger files are read for their categories only, so that a start takes a second or two: 10 MB take half a second.
LARGEST = 20_000_000
#: Pictures that are looked for; where these are, the others are as well.
FIRST_PICTURES = 20
#: Data sets that read COCO files as ``CocoDataset`` does.
COCO_TYPES = ('CocoDataset', 'mmdet.CocoDataset')


def check_config(cfg: Mapping[str, Any], splits: Sequence[str]) -> list[Finding]:
    """Check every annotation file of COCO's kind that a config names.

    Args:
        cfg: of a training.
        splits: of ``train``, ``val`` and ``test``.

    Returns:
        warnings and faults.

    Raises:
        DataError: a file cannot be read, or lacks what mmdet needs.
    """
    findings: list[Finding] = []
    all_classes = []
    for split in splits:
        for dataset in _coco_datasets((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
            path = Path(dataset.get('data_root') or '') / dataset['ann_file']
            if dataset.get('backend_args') or ':/' in str(path):
                continue
            classes = _classes(dataset)
            all_classes.append((f'{split}_dataloader', classes))
            data = _read(path, annotated=split != 'test')
            findings += [*check_categories(data), *_check_names(data, dataset, classes)]
            if data.images and (data.objects or split != 'test'):
                findings += _check_whole(data, dataset, cfg.get('model') or {}, classes, training=split == 'train')
            if split != 'train':
                findings += _check_evaluator(cfg.get(f'{split}_evaluator'), split, data, classes)
    findings += _check_numbers(cfg, all_classes)
    return list({str(finding): finding for finding in findings}.values())


def _check_names(data: Annotations, dataset: Mapping[str, Any], classes: Sequence[str]) -> list[Finding]:
    findings = check_classes(data, classes)
    if 'classes' in (dataset.get('metainfo') or {}):
        return findings
    return [
        replace(one, mend=f"{one.mend}; the config names no metainfo=dict(classes=...), which means COCO's 80 classes")
        if one.stops
        else one
        for one in findings
    ]


def _check_whole(
    data: Annotations, dataset: Mapping[str, Any], model: Mapping[str, Any], classes: Sequence[str], *, training: bool
) -> list[Finding]:
    """What can be said of a file that was read to its end."""
    check_complete(data, training=training)
    return [
        *check_annotations(data, training=training),
        *_check_first_pictures(data, dataset),
        *_check_model(model, data, classes, training),
    ]


def _check_evaluator(evaluator: Any, split: str, data: Annotations, classes: Sequence[str]) -> list[Finding]:
    """An evaluator that reads its truth from another file than the data set."""
    findings = []
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator or {}]:
        path = metric.get('ann_file')
        if not path or ':/' in path or not Path(path).is_file() or Path(path).resolve() == data.source.resolve():
            continue
        truth = _read(Path(path))
        findings += check_classes(truth, classes)
        names = {image['id']: image['file_name'] for image in truth.images}
        foreign = [image['file_name'] for image in data.images if names.get(image['id']) != image['file_name']]
        if foreign and truth.images:
            what = f'{len(foreign)} of the {len(data.images)} pictures are not in {path}, by which they are evaluated'
            mend = f'set {split}_evaluator.ann_file to the file of {split}_dataloader'
            findings.append(Finding(data.source, what, foreign, True, mend))
    return findings


def _check_numbers(cfg: Mapping[str, Any], all_classes: Sequence[tuple[str, Sequence[str]]]) -> list[Finding]:
    """The same classes everywhere, and a row of the class branch for each."""
    findings = []
    for key, classes in all_classes:
        first_key, first = all_classes[0]
        if classes != first:
            what = f'classes of {key} are {listed(classes, 20)}, those of {first_key} {listed(first, 20)}'
            findings.append(Finding('config', what, stops=True, mend='both must be the same, in the same order'))
    rows = ((cfg.get('model') or {}).get('bbox_head') or {}).get('num_classes')
    if all_classes and isinstance(rows, int) and rows != len(all_classes[0][1]):
        what = f'model.bbox_head.num_classes is {rows}, and there are {len(all_classes[0][1])} classes'
        findings.append(Finding('config', what, [*all_classes[0][1]], True, 'set it to their number'))
    return findings


def _coco_datasets(node: Any) -> Iterator[Mapping[str, Any]]:
    """The data sets of COCO's kind in a data set that may be wrapped or put together."""
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
    classes = (dataset.get('metainfo') or {}).get('classes', CocoDataset.METAINFO['classes'])
    if isinstance(classes, str) and Path(classes).is_file():
        return tuple(Path(classes).read_text(encoding='utf-8').splitlines())
    if isinstance(classes, str):
        raise DataError(
            f"metainfo: classes='{classes}' is a text and no sequence of names: for one class, write "
            f"classes=('{classes}',) with its comma"
        )
    return tuple(classes)


def _read(path: Path, *, annotated: bool = True) -> Annotations:
    """All of a file, or the categories of a large one."""
    if path.stat().st_size <= LARGEST:
        return read_coco(path, annotated=annotated)
    return Annotations(path, [], [], _only_categories(path))


def _only_categories(path: Path) -> list[dict[str, Any]]:
    """The list of categories, found in the bytes without reading the rest.

    Raises:
        DataError: there is none.
    """
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = content.rfind(b'"categories"')
        while position >= 0:
            start = content.find(b'[', position)
            try:
                # 16 MB hold a list of some 100,000 categories.
                found, _ = json.JSONDecoder().raw_decode(content[start : start + (1 << 24)].decode('utf-8', 'ignore'))
            except ValueError:
                found = None
            if isinstance(found, list) and all(
                isinstance(item, dict) and {'id', 'name'} <= set(item) for item in found
            ):
                return found
            position = content.rfind(b'"categories"', 0, position)
    raise DataError(f'{path} is not a COCO annotation file of objects, it has no list of categories')


def _check_first_pictures(data: Annotations, dataset: Mapping[str, Any]) -> list[Finding]:
    prefix = (dataset.get('data_prefix') or {}).get('img', '')
    folder = Path(dataset.get('data_root') or '') / prefix
    first = [image['file_name'] for image in data.images[:FIRST_PICTURES]]
    missing = [name for name in first if not (folder / name).is_file()]
    if not missing:
        return []
    what = f'{len(missing)} of the first {len(first)} pictures are not in {folder}'
    return [Finding(data.source, what, missing, True, 'mend data_prefix.img, or the names in the file')]


def _check_model(model: Mapping[str, Any], data: Annotations, classes: Sequence[str], training: bool) -> list[Finding]:
    """Objects that more queries, or more predictions, would be needed for."""
    generator = model.get('query_generator') or {}
    generator = generator.get('generator') or generator  # denoising wraps the generator of the queries
    findings = []
    queries = generator.get('num_queries')
    if isinstance(queries, int):
        predictions = queries * max(1, generator.get('num_patterns') or 0)
        findings += check_queries(data, classes, predictions, 'num_queries')
    kept = (model.get('bbox_head') or {}).get('max_per_img')
    if isinstance(kept, int) and not training:
        findings += check_queries(data, classes, kept, 'bbox_head.max_per_img')
    return findings
