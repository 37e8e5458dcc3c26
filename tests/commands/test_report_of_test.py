"""``mmdet-dab test … --report``: the figures of MMDetection's own metric, and the galleries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import mmdet_dab
from mmdet_dab.config import build_detector
from tests.helpers.commands import Commands
from tests.helpers.tiny_task import Task

FEW_SHAPES = (
    'test_dataloader.dataset.num_images=6',
    'test_dataloader.num_workers=0',
    'test_dataloader.batch_size=2',
)


def random_weights(config: str, path: Path, *options: str) -> Path:
    torch.manual_seed(0)
    model = build_detector(mmdet_dab.load_config(config))
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def figures(page: Path) -> dict[str, str]:
    return dict(re.findall(r'<dt>([^<]*)</dt><dd>([^<]*)</dd>', page.read_text()))


def test_report_of_a_test(command: Commands, task: Task, trained: Path, tmp_path: Path):
    output = command('test', task.config, trained / 'epoch_1.pth', '--report', 'mine', *task.options)
    shown = figures(tmp_path / 'mine/report.html')
    logged = re.search(r'bbox_mAP: (\d\.\d+)', output)
    assert logged is not None
    assert float(shown['AP']) == pytest.approx(float(logged[1]), abs=0.001)
    assert shown['images'] == shown['objects'] == '6'
    assert float(shown['images per second']) > 0
    assert '<img' in (tmp_path / 'mine/report.html').read_text()
    annotations = task.data_root / 'annotations/all.json'
    again = command('report', 'mine/detections.bbox.json', '--annotations', annotations)
    assert 'AP is' in again
    repeated = figures(tmp_path / 'report/report.html')
    assert repeated == {name: value for name, value in shown.items() if name != 'images per second'}


def test_report_of_images_that_are_drawn(command: Commands, tmp_path: Path):
    checkpoint = random_weights('shapes/demo', tmp_path / 'random.pth')
    command('test', 'shapes/demo', checkpoint, '--report', 'mine', '--cfg-options', *FEW_SHAPES)
    assert figures(tmp_path / 'mine/report.html')['images'] == '6'
    assert '<img' in (tmp_path / 'mine/report.html').read_text()
    assert all(entry['score'] <= 1 for entry in json.loads((tmp_path / 'mine/detections.bbox.json').read_text()))
