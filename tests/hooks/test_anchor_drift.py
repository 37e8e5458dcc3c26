"""The log says how far the anchors have moved, measured from the first start of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdet_dab.hooks.anchor_drift_hook import AnchorDriftHook, anchors_of
from mmdet_dab.models.query_generator import learned_anchors
from tests.helpers import assemblies, training

HOOK = dict(anchor_drift=dict(type='mmdet_dab.AnchorDriftHook', interval=1))


def logged(folder: Path) -> list[dict[str, Any]]:
    """What the newest start wrote."""
    file = sorted(folder.glob('work/*/vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_drift_is_the_distance_from_the_first_anchors_also_after_resuming(tmp_path: Path):
    config = training.config_of(tmp_path, default_hooks=HOOK)
    config.train_cfg.max_epochs = 2
    runner = training.build(config)
    start = anchors_of(runner)
    runner.train()
    entries = logged(tmp_path)
    moved = anchors_of(runner) - start
    assert moved.abs().max() > 1e-4, 'nothing was learned'
    assert entries[-1]['anchor_drift_xy'] == pytest.approx(float(moved[:, :2].norm(dim=1).mean()))
    assert entries[-1]['anchor_drift_wh'] == pytest.approx(float(moved[:, 2:].norm(dim=1).mean()))
    assert entries[0]['anchor_drift_xy'] < entries[-1]['anchor_drift_xy']

    config.train_cfg.max_epochs = 3
    config.merge_from_dict(dict(resume=True, load_from=str(tmp_path / 'work/iter_4.pth')))
    resumed = training.build(config)
    resumed.train()
    moved = anchors_of(resumed) - start
    assert logged(tmp_path)[-1]['anchor_drift_xy'] == pytest.approx(float(moved[:, :2].norm(dim=1).mean()))


def test_anchors_are_found_in_every_assembly_that_has_some():
    """Boxes, points that are predicted, boxes in a generator around another one, and none."""
    found = {name: learned_anchors(assemblies.build(name)) for name in ('DAB-DETR', 'Conditional DETR', 'DN', 'DETR')}
    assert [None if anchors is None else tuple(anchors.shape) for anchors in found.values()] == [
        (7, 4),
        (7, 2),
        (7, 4),
        None,
    ]
    assert all(((anchors > 0) & (anchors < 1)).all() for anchors in found.values() if isinstance(anchors, torch.Tensor))


def test_the_interval_is_positive():
    with pytest.raises(ValueError, match='interval=0'):
        AnchorDriftHook(interval=0)
