"""Every config in the repository builds, and states only what differs."""

from __future__ import annotations

import math

import pytest
import torch

from mmdet_dab import cli
from mmdet_dab.registry import MODELS
from tests.golden import GoldenCase
from tests.paths import CONFIGS

#: Configs of released models -> the golden case that lists the released tensors.
RELEASED = {'dab_detr_r50_50e.py': 'dab_detr_r50', 'dab_detr_r50_3pat_50e.py': 'dab_detr_r50_3pat'}
FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


def build(name):
    config = cli.load_config(str(CONFIGS / name), {})
    config.model.backbone.init_cfg = None
    return config, MODELS.build(config.model)


@pytest.mark.parametrize('name', FILES)
def test_config_builds_and_predicts(name):
    config, model = build(name)
    heads = model.bbox_head.num_classes
    assert heads == len(config.get('metainfo', {}).get('classes', range(heads)))
    with torch.no_grad():
        logits, boxes = model.eval()(torch.zeros(1, 3, 64, 96))
    assert logits.shape[-1] == heads
    assert boxes.isfinite().all()


@pytest.mark.parametrize('name', FILES)
def test_config_is_a_whole_training(name):
    """The Runner finds everything it needs, and the tools the data root."""
    config = cli.load_config(str(CONFIGS / name), {})
    for split in ('train', 'val', 'test'):
        assert config[f'{split}_dataloader'].dataset.pipeline
        assert config[f'{split}_cfg']
    assert config.optim_wrapper.optimizer.type == 'AdamW'
    assert config.default_scope == 'mmdet'


@pytest.mark.parametrize(('name', 'case'), RELEASED.items())
def test_number_of_parameters(name, case):
    """That of the released model (44M in the paper's table 2), less 11 of its 91 class rows."""
    _, model = build(name)
    spec = GoldenCase.load(case).spec
    names = [name for name in spec['parameters'] if name not in spec['tied'] and 'running_' not in name]
    released = sum(math.prod(spec['parameters'][name]) for name in names)
    assert sum(parameter.numel() for parameter in model.parameters()) == released - 11 * (256 + 1)
    assert round(released / 1e6) == 44


def test_variant_states_only_what_differs():
    """3 patterns: one line over the plain config."""
    source = (CONFIGS / 'dab_detr_r50_3pat_50e.py').read_text()
    lines = [line for line in source.splitlines() if line and not line.startswith('#')]
    assert lines == ["_base_ = 'dab_detr_r50_50e.py'", 'model = dict(query_generator=dict(num_patterns=3))']


def test_recipe_of_the_paper():
    config = cli.load_config(str(CONFIGS / 'dab_detr_r50_50e.py'), {})
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-4, 1e-4)
    assert config.optim_wrapper.paramwise_cfg.custom_keys == {'backbone': {'lr_mult': 0.1}}
    assert config.optim_wrapper.clip_grad.max_norm == 0.1
    assert config.train_cfg.max_epochs == 50
    assert config.param_scheduler[0].milestones == [40]
    assert config.auto_scale_lr.base_batch_size == 16
    encoder = config.model.positional_encoder
    assert (encoder.temperature, encoder.box_temperature) == (20, 10000)


def test_data_root_alone_moves_the_data():
    config = cli.load_config(str(CONFIGS / 'dab_detr_r50_50e.py'), {'data_root': '/elsewhere'})
    for split in ('train', 'val', 'test'):
        assert config[f'{split}_dataloader'].dataset.data_root.rstrip('/') == '/elsewhere'
    for split in ('val', 'test'):
        assert config[f'{split}_evaluator'].ann_file == '/elsewhere/annotations/instances_val2017.json'
