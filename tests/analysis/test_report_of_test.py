"""``mmdet-dab test … --report``: the same figures as MMDetection's metric, from any dataset."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from PIL import Image

import mmdet_dab
from mmdet_dab.analysis.report import of_test
from mmdet_dab.config import build_detector
from mmdet_dab.datasets import SyntheticShapes
from tests.helpers.commands import Commands
from tests.helpers.detections import annotated, disturbed
from tests.helpers.tiny_task import make_task


def figures(folder: Path) -> dict[str, str]:
    page = (folder / 'report.html').read_text()
    return dict(re.findall(r'<dt>([^<]*)</dt><dd>([^<]*)</dd>', page))


def attached(dataset: Any, folder: Path) -> of_test.ReportMetric:
    runner: Any = SimpleNamespace(
        test_dataloader=SimpleNamespace(dataset=dataset), test_evaluator=SimpleNamespace(metrics=[])
    )
    of_test.attach(runner, folder, 'mine')
    return runner.test_evaluator.metrics[0]


def sample(image: int, boxes: Any, scores: Any, labels: Any) -> dict[str, Any]:
    """What the Runner hands to a metric."""
    predicted = dict(
        bboxes=torch.tensor(np.array(boxes, dtype=float).reshape(-1, 4)),
        scores=torch.tensor(scores, dtype=torch.float64),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    return dict(img_id=image, ori_shape=(480, 640), pred_instances=predicted)


def test_figures_are_those_of_mmdetections_metric(tmp_path: Path):
    """Of three of four classes."""
    content = annotated(0)
    (tmp_path / 'gt.json').write_text(json.dumps(content))
    (tmp_path / 'images').mkdir()
    for image in content['images']:
        Image.new('RGB', (640, 480)).save(tmp_path / 'images' / image['file_name'])
    classes = ('class 0', 'class 2', 'class 3')
    labels = {2: 0, 12: 1, 17: 2}
    dataset = CocoDataset(
        ann_file=str(tmp_path / 'gt.json'),
        data_prefix=dict(img=str(tmp_path / 'images')),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=[],
    )
    ours = attached(dataset, tmp_path / 'report')
    theirs = CocoMetric(ann_file=str(tmp_path / 'gt.json'), metric='bbox')
    theirs.dataset_meta = dataset.metainfo
    found = [one for one in disturbed(content, 5) if one['category_id'] in labels]
    for image in content['images']:
        mine = [one for one in found if one['image_id'] == image['id']]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (one['bbox'] for one in mine)]
        scores = [one['score'] for one in mine]
        batch = [sample(image['id'], corners, scores, [labels[one['category_id']] for one in mine])]
        for metric in (ours, theirs):
            metric.process({}, batch)
    expected = theirs.evaluate(len(content['images']))
    assert ours.evaluate(len(content['images'])) == {}
    shown = figures(tmp_path / 'report')
    for name, key in (('AP', 'mAP'), ('AP50', 'mAP_50'), ('AP75', 'mAP_75')):
        assert float(shown[name]) == pytest.approx(expected[f'coco/bbox_{key}'], abs=0.00051)
    assert 0.3 < float(shown['AP']) < 0.9
    assert float(shown['images per second']) > 0
    assert '<img' in (tmp_path / 'report/report.html').read_text()
    written = json.loads((tmp_path / 'report' / of_test.RESULTS).read_text())
    pairs = [[(one['image_id'], one['category_id']) for one in entries] for entries in (written, found)]
    assert sorted(pairs[0]) == sorted(pairs[1])


def test_images_that_are_drawn_have_a_gallery_too(tmp_path: Path):
    """All but the first object of every image is found: the others are missed, and shown."""
    dataset = SyntheticShapes(num_images=5, seed=3, image_size=(64, 64), num_objects=(2, 3), test_mode=True)
    metric = attached(dataset, tmp_path)
    for row in range(len(dataset)):
        info = dataset.get_data_info(row)
        found = info['instances'][1:]
        boxes, labels = [item['bbox'] for item in found], [item['bbox_label'] for item in found]
        metric.process({}, [sample(info['img_id'], boxes, [0.9] * len(found), labels)])
    metric.evaluate(len(dataset))
    page = (tmp_path / 'report.html').read_text()
    assert page.count('No detection fits') == 5
    assert page.count('<img') == 10
    assert figures(tmp_path)['images'] == '5'


def test_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    command = Commands(monkeypatch, capfd)
    task = make_task(tmp_path / 'task')
    torch.save({'state_dict': build_detector(mmdet_dab.load_config(str(task.config))).state_dict()}, 'random.pth')
    command('test', task.config, 'random.pth', '--report', 'mine', *task.options)
    shown = figures(tmp_path / 'mine')
    assert shown['images'] == shown['objects'] == '6'
    annotations = task.data_root / 'annotations/all.json'
    assert 'AP is' in command('report', 'mine/detections.bbox.json', '--annotations', annotations)
    assert figures(tmp_path / 'report') == {name: one for name, one in shown.items() if name != 'images per second'}


def test_mirrored_as_well(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """The detector, inside of its wrapper, gets all its weights, and nobody says that it got none."""
    monkeypatch.chdir(tmp_path)
    command = Commands(monkeypatch, capfd)
    task = make_task(tmp_path / 'task')
    torch.save({'state_dict': build_detector(mmdet_dab.load_config(str(task.config))).state_dict()}, 'random.pth')
    printed = command('test', task.config, 'random.pth', '--tta', '--report', 'mine', *task.options)
    assert 'ATTENTION' not in printed
    assert figures(tmp_path / 'mine')['images'] == '6'
