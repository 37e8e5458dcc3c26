"""``mmdet-dab test --model`` and ``--tta``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import mmengine
import onnxruntime
import pytest
import torch
from mmdet.apis import inference_detector
from pycocotools.coco import COCO

import mmdet_dab
from tests.helpers.commands import Commands
from tests.helpers.hand_made import METADATA, write_hand_made
from tests.helpers.tiny_task import CLASSES, Task


def test_an_exported_file_is_evaluated_and_loaded_once(
    command: Commands, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_hand_made(tmp_path / 'tiny.onnx', replace(METADATA, classes=CLASSES, scale=(64, 64)))
    loaded: list[str] = []

    class Counted(onnxruntime.InferenceSession):
        def __init__(self, path: str, *arguments: Any, **more: Any) -> None:
            loaded.append(path)
            super().__init__(path, *arguments, **more)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Counted)
    command('test', task.config, '--model', path, '--out', 'found.pkl', '--work-dir', 'w', *task.options)
    assert loaded == [str(path)]
    found = mmengine.load(tmp_path / 'found.pkl')
    assert len(found) == 6
    # Of images of 64 × 64 pixels, the box (1/4, 1/2, 3/4, 1).
    assert found[0]['pred_instances']['bboxes'][0].tolist() == [16, 32, 48, 64]


def test_predictions_as_coco_results(command: Commands, task: Task, tmp_path: Path):
    """With the ids of the annotations, so that they can be evaluated elsewhere."""
    path = write_hand_made(tmp_path / 'tiny.onnx', replace(METADATA, classes=CLASSES, scale=(64, 64)))
    given = ('test', task.config, '--model', path, '--out', 'deep/found.json', '--work-dir', 'w')
    printed = command(*given, *task.options)
    assert 'deep/found.json' in printed
    assert [file.name for file in (tmp_path / 'deep').iterdir()] == ['found.json']
    found = COCO(str(task.data_root / 'annotations/all.json')).loadRes(str(tmp_path / 'deep/found.json'))
    assert len(found.anns) == 12
    first = min(found.loadAnns(found.getAnnIds(imgIds=[0])), key=lambda item: item['id'])
    assert (first['bbox'], first['category_id']) == ([16, 32, 32, 32], 2)


def test_an_exported_file_of_other_classes_is_refused(command: Commands, task: Task, tmp_path: Path):
    path = write_hand_made(tmp_path / 'other.onnx', replace(METADATA, classes=('cup', 'plate')))
    line = command.error('test', task.config, '--model', path, '--work-dir', 'w', *task.options)
    for name in ('other.onnx', 'cup', 'plate', *CLASSES):
        assert name in line


def test_an_exported_file_that_is_not_there_is_named_as_one(command: Commands, task: Task):
    line = command.error('test', task.config, '--model', 'gone.onnx', *task.options)
    assert '--model gone.onnx' in line
    assert 'checkpoint' not in line


def test_mirrored_too(command: Commands, task: Task, tmp_path: Path):
    """The images are mirrored by hand as well: each box of the merged answer is one that the detector found on the
    image, or one that it found on the mirrored image, brought back."""
    torch.manual_seed(1)
    model = mmdet_dab.build(task.config)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), tmp_path / 'w.pth')
    results = {}
    for name, options in (('both', ('--tta',)), ('optimised', ('--tta', '--optimize'))):
        given = ('test', task.config, 'w.pth', '--out', f'{name}.pkl', '--work-dir', 'w', *options, *task.options)
        assert 'coco/bbox_mAP' in command(*given)
        results[name] = [found['pred_instances'] for found in mmengine.load(tmp_path / f'{name}.pkl')]
    model = mmdet_dab.build(task.config, tmp_path / 'w.pth')
    for number, (both, optimised) in enumerate(zip(*results.values(), strict=True)):
        image = cv2.imread(str(task.data_root / f'images/{number}.png'))
        plain, back = (inference_detector(model, view).pred_instances.bboxes for view in (image, image[:, ::-1].copy()))
        back = torch.stack((64 - back[:, 2], back[:, 1], 64 - back[:, 0], back[:, 3]), dim=1)
        distance = (both['bboxes'][:, None] - torch.cat((plain, back))).abs().amax(2)
        assert distance.amin(1).max() < 1e-3
        assert distance.argmin(1).max() >= 10, 'some are of the mirrored image'
        assert len(both['scores']) == 10
        assert (both['scores'].diff() <= 0).all()
        torch.testing.assert_close(both['scores'], optimised['scores'], rtol=0, atol=1e-4)


def test_what_tta_does_not_go_with(command: Commands, task: Task, tmp_path: Path):
    (tmp_path / 'a.onnx').write_bytes(b'')
    assert '--tta' in command.error('test', task.config, '--model', 'a.onnx', '--tta')
