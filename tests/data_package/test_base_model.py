"""What a training run builds on: the small model, or a checkpoint and the config that it fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_dab.checkpoints import CheckpointError
from mmdet_dab.data.base_model import FROM_SCRATCH, SMALL, SMALL_PLAIN, from_checkpoint, from_scratch
from mmdet_dab.errors import DataError
from mmdet_dab.registry import MODELS
from tests.helpers.paths import CONFIGS


def save(path: Path, base: str, classes: tuple[str, ...] = (), **model: object) -> Path:
    """A checkpoint as a training run of a config leaves it."""
    cfg = Config.fromfile(CONFIGS / base)
    cfg.merge_from_dict({f'model.{key}': value for key, value in model.items()})
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), path)
    return path


def test_from_scratch():
    base = from_scratch(CONFIGS)
    assert (base.bases, base.stride, base.small, base.denoising, base.checkpoint) == (
        FROM_SCRATCH,
        16,
        True,
        True,
        None,
    )


@pytest.mark.parametrize(('bases', 'denoising'), [(SMALL, True), (SMALL_PLAIN, False)])
def test_a_checkpoint_of_the_small_model(tmp_path: Path, bases: tuple[str, ...], denoising: bool):
    """Of three classes, of which one is ours."""
    queries = 'query_generator.generator.num_queries' if denoising else 'query_generator.num_queries'
    path = save(tmp_path / 'a.pth', bases[0], ('bar', 'ring', 'star'), **{queries: 30, 'num_classes': 3})
    base = from_checkpoint(path, CONFIGS, ('square', 'bar'))
    # Without denoising only the anchors are in the checkpoint, and either config would do.
    assert base.bases in ((SMALL, SMALL_PLAIN) if not denoising else (SMALL,))
    assert (base.num_queries, base.known, base.small) == (30, ('bar',), True)


def test_a_checkpoint_of_the_large_model(tmp_path: Path):
    base = from_checkpoint(save(tmp_path / 'r50.pth', 'dab_detr_r50_50e.py'), CONFIGS, ('square',))
    assert (base.bases, base.stride, base.small, base.num_queries) == (('dab_detr_r50_50e.py',), 32, False, 300)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path):
    path = save(tmp_path / 'a.pth', SMALL_PLAIN[0])
    read = torch.load(path, weights_only=True)
    read['state_dict']['neck.convs.0.conv.weight'] = torch.zeros(64, 128, 1, 1)
    torch.save(read, path)
    with pytest.raises(DataError, match=r'a\.pth: .*small\.py: .*neck'):
        from_checkpoint(path, CONFIGS, ('square',))
    with pytest.raises(CheckpointError, match=r'gone\.pth'):
        from_checkpoint(tmp_path / 'gone.pth', CONFIGS, ('square',))
