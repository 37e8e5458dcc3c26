"""Validation images are found by the place of their annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmdet_dab.data.val_images import find_val_images


def touch(tmp_path: Path, *files: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('')


@pytest.mark.parametrize('same_names', [False, True])
@pytest.mark.parametrize(
    ('images', 'annotations', 'val', 'val_images'),
    [
        ('train', 'train', 'test', 'test'),
        ('images/train', 'labels/train', 'labels/val', 'images/val'),
        ('train/images', 'train/labels', 'valid/labels', 'valid/images'),
        ('JPEGImages', 'Annotations/train', 'Annotations/val', 'JPEGImages'),
        ('JPEGImages', 'xml_train', 'xml_val', 'JPEGImages'),
    ],
)
@pytest.mark.parametrize('kind', ['voc', 'yolo'])
def test_folders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: str,
    annotations: str,
    val: str,
    val_images: str,
    kind: str,
    same_names: bool,
):
    suffix = '.xml' if kind == 'voc' else '.txt'
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        name = number if same_names else f'v{number}'
        touch(tmp_path, f'{images}/{number}.jpg', f'{annotations}/{number}{suffix}')
        touch(tmp_path, f'{val_images}/{name}.jpg', f'{val}/{name}{suffix}')
    assert find_val_images(Path(images), Path(annotations), Path(val), kind) == Path(val_images)
    whole = [tmp_path / path for path in (images, annotations, val)]
    assert find_val_images(*whole, kind) == tmp_path / val_images


@pytest.mark.parametrize(
    ('images', 'annotations', 'val', 'val_images'),
    [
        ('train', 'train/_annotations.coco.json', 'valid/_annotations.coco.json', 'valid'),
        ('images', 'train.json', 'val.json', 'val'),
        ('train2017', 'annotations/train2017.json', 'annotations/val2017.json', 'val2017'),
        ('images', 'train.json', 'val.json', 'images'),
    ],
)
def test_files(tmp_path: Path, images: str, annotations: str, val: str, val_images: str):
    touch(tmp_path, f'{images}/0.jpg', f'{val_images}/v0.jpg', annotations, val)
    content = dict(images=[dict(id=1, file_name='v0.jpg')], annotations=[], categories=[])
    (tmp_path / val).write_text(json.dumps(content))
    found = find_val_images(tmp_path / images, tmp_path / annotations, tmp_path / val, 'coco')
    assert found == tmp_path / val_images
