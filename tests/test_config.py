"""Configs: found by name, read, overridden, and built into detectors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.config import Config

import mmdet_dab
from mmdet_dab.config import build, config_names, draft_config, find_config, load_config
from mmdet_dab.errors import CheckpointError, ConfigError
from tests.helpers.paths import CONFIGS
from tests.helpers.tiny_task import MODEL, Task, make_task


@pytest.fixture(scope='module')
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp('task'))


def written(folder: Path, text: str, name: str = 'config.py') -> str:
    (folder / name).write_text(text)
    return str(folder / name)


# --- Names


@pytest.mark.parametrize(
    'name',
    [
        'mix/dn_detr_r50_50e',
        'mix/dn_detr_r50_50e.py',
        'configs/mix/dn_detr_r50_50e.py',
        'mmdet_dab::mix/dn_detr_r50_50e.py',
        'mmdet_dab::mix/dn_detr_r50_50e',
    ],
)
def test_one_of_ours_by_name_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).samefile(CONFIGS / 'mix/dn_detr_r50_50e.py')


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, 'x = 1', 'dab_detr_r50_50e.py')
    assert find_config('dab_detr_r50_50e.py') == Path('dab_detr_r50_50e.py')


def test_one_of_mmdet():
    assert find_config('mmdet::detr/detr_r50_8xb2-150e_coco.py').is_file()


def test_every_config_has_a_name_and_no_fragment_has():
    names = config_names()
    assert {'dab_detr_r50_50e', 'shapes/dab_detr_shapes_5min'} <= set(names)
    assert not any('_base_' in name for name in names)


@pytest.mark.parametrize(
    ('name', 'proposal'),
    [
        ('dab_detr_r50_50', 'dab_detr_r50_50e'),
        ('dn_detr_r50_50e', 'mix/dn_detr_r50_50e'),
        ('configs/dab_detr_r51_50e.py', 'dab_detr_r50_50e'),
        ('mmdet_dab::dab_detr_r50_5e.py', 'dab_detr_r50_50e'),
        ('mmdet::detr/detr_r50_8xb2-15e_coco.py', 'mmdet::detr/detr_r50_8xb2-150e_coco.py'),
    ],
)
def test_a_name_that_is_no_config_lists_the_nearest(name: str, proposal: str):
    with pytest.raises(ConfigError, match='Did you mean') as error:
        load_config(name)
    assert str(error.value).startswith(f'config {name}')
    proposals = str(error.value).split('Did you mean ')[1].rstrip('?').split(', ')
    assert proposal in proposals
    assert len(proposals) <= 3


def test_a_package_that_is_not_installed():
    with pytest.raises(ConfigError, match=r'config nowhere::x\.py: there is no installed package'):
        load_config('nowhere::x.py')


@pytest.mark.parametrize('name', ['../setup', '/etc/passwd', ''])
def test_a_name_does_not_leave_the_folder_of_configs(name: str):
    with pytest.raises(ConfigError, match='config'):
        load_config(name)


# --- Bases


def test_ours_as_a_base_with_parts_of_mmdet(tmp_path: Path):
    path = written(tmp_path, "_base_ = 'mmdet_dab::dab_detr_r50_50e.py'\nmodel = dict(num_queries=7)")
    cfg = Config.fromfile(path)
    assert cfg.model.num_queries == 7
    assert cfg.train_dataloader == load_config('dab_detr_r50_50e').train_dataloader
    model = build(cfg)
    assert type(model.backbone).__name__ == 'FoldingResNet'


def test_ours_as_a_base_that_does_not_exist(tmp_path: Path):
    with pytest.raises(ConfigError, match='dab_detr_r50_50e'):
        load_config(written(tmp_path, "_base_ = 'mmdet_dab::dab_detr_r50_50.py'"))


def test_ours_as_a_base_of_the_new_style(tmp_path: Path):
    path = written(
        tmp_path,
        'from mmengine.config import read_base\n'
        'with read_base():\n'
        '    from mmdet_dab.configs.mix.dn_detr_r50_50e import *\n'
        'model.update(num_queries=7)\n',
    )
    cfg = Config.fromfile(path)
    expected = load_config('mix/dn_detr_r50_50e')
    assert cfg.model.pop('num_queries') == 7
    expected.model.pop('num_queries', None)
    assert cfg.to_dict() == expected.to_dict()


# --- Overrides

VARIABLES = """
batch_size = 8
max_epochs = 12
classes = ('a', 'b')
lonely = 3
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64))]
train_dataloader = dict(batch_size=batch_size, dataset=dict(type='CocoDataset', pipeline=pipeline))
model = dict(type='DETR', bbox_head=dict(type='DETRHead', num_classes=len(classes)))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
param_scheduler = [dict(type='MultiStepLR', milestones=[max_epochs * 2 // 3])]
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
"""


@pytest.mark.parametrize('derived', [False, True])
def test_what_is_computed_from_a_variable_follows_it(tmp_path: Path, derived: bool):
    path = written(tmp_path, VARIABLES)
    if derived:
        path = written(
            tmp_path, f"_base_ = '{path}'\nmax_epochs = 24\ntrain_cfg = dict(max_epochs=max_epochs)", 'own.py'
        )
    cfg = load_config(path, {'max_epochs': 3, 'batch_size': 2, 'classes': ['x', 'y', 'z'], 'pipeline.1.scale': (9, 9)})
    assert (cfg.max_epochs, cfg.train_cfg.max_epochs, cfg.param_scheduler[0].milestones) == (3, 3, [2])
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.model.bbox_head.num_classes == 3
    assert cfg.train_dataloader.dataset.pipeline[1].scale == (9, 9)


def test_variables_of_the_shapes_follow():
    cfg = load_config('shapes/dab_detr_shapes_5min', {'max_iters': 40, 'num_classes': 6, 'shapes.noise': 0})
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 40
    assert cfg.model.num_classes == 6
    assert cfg.train_dataloader.dataset.noise == cfg.val_dataloader.dataset.noise == 0


@pytest.mark.parametrize(
    ('options', 'proposal'),
    [
        ({'lonely': 4}, 'Did you mean'),
        ({'optim_wraper.optimizer.lr': 3}, 'optim_wrapper.optimizer.lr'),
        ({'lr': 3}, 'optim_wrapper.optimizer.lr'),
        ({'train_dataloader.batchsize': 3}, 'train_dataloader.batch_size'),
        ({'train_cfg.max_epoch': 3}, 'train_cfg.max_epochs'),
        ({'optim_wrapper.optimizer.weight_decy': 0}, 'optim_wrapper.optimizer.weight_decay'),
        ({'optim_wrapper.clip_grads.max_norm': 1}, 'optim_wrapper.clip_grad'),
        ({'default_hooks.checkpoint.max_keep_ckpt': 1}, 'default_hooks.checkpoint.max_keep_ckpts'),
        ({'default_hooks.checkpont.interval': 1}, 'default_hooks.checkpoint'),
        ({'model.bbox_head.num_clases': 1}, 'model.bbox_head.num_classes'),
        ({'param_scheduler.1.gamma': 1}, 'param_scheduler.0'),
        ({'randomness.sed': 1}, 'randomness.seed'),
    ],
)
def test_a_key_without_effect_is_refused_with_the_real_one(tmp_path: Path, options: dict, proposal: str):
    path = written(tmp_path, VARIABLES + 'randomness = dict(deterministic=True)')
    with pytest.raises(ConfigError) as error:
        load_config(path, options)
    (key,) = options
    assert key in str(error.value)
    assert path in str(error.value)
    assert proposal in str(error.value)


def test_a_flat_config_names_the_real_key_of_a_variable(tmp_path: Path):
    """As mmengine writes it into the work directory: nothing is computed in it any more."""
    path = tmp_path / 'flat.py'
    Config.fromfile(written(tmp_path, VARIABLES)).dump(path)
    with pytest.raises(ConfigError, match=r'max_epochs.*Did you mean train_cfg\.max_epochs'):
        load_config(path, {'max_epochs': 3})


def test_a_variable_set_to_the_value_that_it_has_is_no_error(tmp_path: Path):
    assert load_config(written(tmp_path, VARIABLES), {'lonely': 3}).lonely == 3


def test_keys_that_add_something_are_set(tmp_path: Path):
    options = {
        'train_dataloader.num_workers': 2,
        'train_dataloader.prefetch_factor': 4,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
        'default_hooks.checkpoint.priority': 'LOW',
        'default_hooks.ema.type': 'EMAHook',
        'default_hooks.ema.momentum': 0.5,
        'optim_wrapper.optimizer.fused': True,
        'optim_wrapper.accumulative_counts': 4,
        'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.1,
        'param_scheduler.0.gamma': 0.5,
        'model.test_cfg.max_per_img': 5,
        'model.init_cfg.type': 'Pretrained',
        'model.init_cfg.checkpoint': 'x.pth',
        'load_from': 'x.pth',
        'resume': True,
        'randomness.seed': 3,
        'auto_scale_lr.base_batch_size': 16,
        'work_dir': 'somewhere',
        'find_unused_parameters': True,
    }
    cfg = load_config(written(tmp_path, VARIABLES), options)
    for key, value in options.items():
        node = cfg
        for part in key.split('.'):
            node = node[int(part)] if part.isdigit() else node[part]
        assert node == value, key


def test_arguments_of_the_backbone_of_ours_and_of_mmdet_are_known():
    assert load_config('dab_detr_r50_50e', {'model.backbone.with_cp': True}).model.backbone.with_cp is True
    with pytest.raises(ConfigError, match=r'model\.backbone\.with_cp'):
        load_config('dab_detr_r50_50e', {'model.backbone.wth_cp': True})


@pytest.mark.parametrize('new', ['/new/root', '/new/root/'])
def test_data_root_moves_datasets_and_evaluators_and_nothing_else(tmp_path: Path, new: str):
    path = written(
        tmp_path,
        "data_root = 'data/coco/'\n"
        "val_dataloader = dict(dataset=dict(datasets=[dict(data_root=data_root, ann_file='val.json')]))\n"
        "val_evaluator = [dict(ann_file=data_root + 'val.json')]\n"
        "other = ('data/coco2/x', 'my/data/coco/x', 'data/coco')\n",
    )
    cfg = load_config(path, {'data_root': new, 'val_evaluator.0.metric': 'bbox'})
    assert cfg.data_root == new
    assert cfg.val_dataloader.dataset.datasets[0].data_root == '/new/root/'
    assert cfg.val_evaluator[0] == dict(ann_file='/new/root/val.json', metric='bbox')
    assert cfg.other == ('data/coco2/x', 'my/data/coco/x', '/new/root')


def test_an_override_of_one_dataset_wins_over_the_data_root(task: Task):
    options = {'data_root': '/everywhere', 'test_dataloader.dataset.data_root': '/here'}
    cfg = load_config(str(task.config), options)
    assert cfg.train_dataloader.dataset.data_root == '/everywhere/'
    assert cfg.test_dataloader.dataset.data_root == '/here'


# --- Modules of one's own


def test_a_module_beside_the_config_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    written(tmp_path, 'LOADED = True', 'parts_beside_the_config.py')
    load_config(written(tmp_path, "custom_imports = dict(imports=['mmdet_dab', 'parts_beside_the_config'])"))
    assert sys.modules['parts_beside_the_config'].LOADED


def test_a_module_that_is_nowhere_says_where_to_put_it(tmp_path: Path):
    with pytest.raises(ConfigError, match='parts_of_nobody') as error:
        load_config(written(tmp_path, "custom_imports = dict(imports=['parts_of_nobody'])"))
    assert str(tmp_path) in str(error.value)


def test_a_module_that_fails_names_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    written(tmp_path, 'x = 1\nfrom torch import no_such_name\n', 'parts_that_fail.py')
    with pytest.raises(ConfigError, match=r'parts_that_fail\.py:2'):
        load_config(written(tmp_path, "custom_imports = dict(imports=['parts_that_fail'])"))


def test_a_draft_can_be_checked_before_it_is_finished(tmp_path: Path):
    """Nothing of ``custom_imports`` is imported for it."""
    draft = draft_config(written(tmp_path, "custom_imports = dict(imports=['parts_of_nobody'])"))
    assert draft.cfg.custom_imports.imports == ['parts_of_nobody']
    with pytest.raises(ConfigError):
        draft.finish()


# --- Detectors ready to use


def test_build_is_ready_for_inference_detector(task: Task, tmp_path: Path):
    model = mmdet_dab.build(task.config)
    assert not model.training
    assert model.dataset_meta['classes'] == ('square', 'bar')
    stored = dict(classes=('x', 'y'), palette=[(1, 2, 3), (4, 5, 6)])
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=stored)), tmp_path / 'weights.pth')
    again = mmdet_dab.build(task.config, tmp_path / 'weights.pth')
    assert again.dataset_meta == stored
    image = task.data_root / 'images/0.png'
    for one in (str(image), np.zeros((64, 64, 3), np.uint8), str(image)):
        assert inference_detector(again, one).pred_instances.bboxes.shape == (10, 4)


def test_build_of_the_demo_reads_files_too(task: Task):
    model = mmdet_dab.build('shapes/dab_detr_shapes_5min')
    assert model.dataset_meta['classes'] == ('ellipse', 'rectangle', 'triangle', 'ring')
    assert len(inference_detector(model, str(task.data_root / 'images/0.png')).pred_instances) > 0


def test_build_refuses_weights_of_another_model(task: Task, tmp_path: Path):
    torch.save(dict(state_dict={'backbone.weight': torch.zeros(1)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'backbone\.weight'):
        build(task.config, tmp_path / 'other.pth')


def test_build_takes_a_config_in_memory_and_leaves_it_as_it_is(tmp_path: Path):
    cfg = load_config(MODEL)
    before = cfg.to_dict()
    assert build(cfg).cfg is not cfg
    assert cfg.to_dict() == before


def test_det_inferencer_finds_ours_by_name():
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer('dab_detr_r50_50e', device='cpu', show_progress=False)
    assert type(inferencer.model).__name__ == 'ComposedDETR'
    with pytest.raises(ValueError, match='Cannot find model'):
        DetInferencer('dab_detr_r50_5e', device='cpu')
