"""``mmdet-dab infer``: which images are meant, and what is written of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
import torch

import mmdet_dab
from mmdet_dab.commands.infer import find_images
from mmdet_dab.errors import UserError
from tests.helpers.commands import Commands
from tests.helpers.tiny_task import CLASSES, Task


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'')


def test_all_endings_in_any_case(tmp_path: Path):
    touch(tmp_path, 'b.JPG', 'a.jpeg', 'c.Png', 'd.tiff', 'notes.txt', '._b.JPG', 'sub/e.png')
    assert [Path(image).name for image in find_images([str(tmp_path)])] == ['a.jpeg', 'b.JPG', 'c.Png', 'd.tiff']


def test_files_folders_and_patterns_together_and_each_once(tmp_path: Path):
    touch(tmp_path, 'one/a.png', 'one/b.png', 'two/c.png', 'three/d.png', 'three/x.txt')
    given = [str(tmp_path / 'one'), str(tmp_path / 'one/a.png'), str(tmp_path / 'two/c.png'), str(tmp_path / 'thr*/*')]
    assert [Path(image).name for image in find_images(given)] == ['a.png', 'b.png', 'c.png', 'd.png']


def test_two_images_that_would_overwrite_one_another_are_refused(tmp_path: Path):
    touch(tmp_path, 'one/a.png', 'two/a.png')
    with pytest.raises(UserError, match=r'one/a\.png.*two/a\.png.*--out-dir'):
        find_images([str(tmp_path / 'one'), str(tmp_path / 'two')])


@pytest.mark.parametrize('given', ['gone', 'gone/*.png', 'empty'])
def test_what_names_no_image_is_refused_by_name(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError) as error:
        find_images([given])
    assert given in str(error.value)


def test_names_and_places_are_said(command: Commands, task: Task, tmp_path: Path):
    model = mmdet_dab.build(task.config)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    (tmp_path / 'shots').mkdir()
    for name in ('a.png', 'b.PNG', 'b.jpg'):
        cv2.imwrite(str(tmp_path / 'x.png'), cv2.imread(str(task.data_root / 'images/0.png')))
        shutil.move(tmp_path / 'x.png', tmp_path / 'shots' / name)
    printed = command('infer', 'shots', task.config, 'weights.pth', '--out-dir', 'out', '--batch-size', 2)
    assert '3 images → out/vis, out/preds' in printed
    assert 'Warning' not in printed
    assert 'WARNING' not in printed
    assert {file.name for file in (tmp_path / 'out/vis').iterdir()} == {'a.png', 'b.PNG', 'b.jpg'}
    assert {file.name for file in (tmp_path / 'out/preds').iterdir()} == {'a.json', 'b.PNG.json', 'b.jpg.json'}
    boxes = json.loads((tmp_path / 'out/preds/a.json').read_text())
    assert boxes['names'] == [CLASSES[label] for label in boxes['labels']]
    assert len(boxes['names']) == 10
