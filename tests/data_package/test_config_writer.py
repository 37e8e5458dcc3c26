"""The written config: names and paths come through exactly, and it states what differs from its bases."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmdet_dab.data.base_model import FROM_SCRATCH, SMALL, SMALL_PLAIN, BaseModel
from mmdet_dab.data.config_writer import comment, config_text
from mmdet_dab.data.data_paths import DataPaths
from mmdet_dab.data.recipe import Recipe
from mmdet_dab.data.statistics import Resizing
from tests.helpers.paths import CONFIGS

PATHS = DataPaths('data/cells/', (True, 'train.json'), (True, 'images/'), (False, 'mine/val.json'), (True, ''))
R50 = ('dab_detr_r50_50e.py',)


def recipe(small: bool = True, **values: Any) -> Recipe:
    defaults = dict(
        resizing=Resizing((256, 192) if small else (1333, 800), keep_ratio=not small),
        num_queries=60,
        max_per_img=100,
        anchor_size=(0.2, 0.18),
        num_anchor_sizes=1,
        batch_size=4,
        max_epochs=55,
        steps_per_epoch=52,
        warm_up=100,
        val_interval=5,
        learning_rate=1e-3,
        ema_momentum=0.002,
        num_workers=1,
        reasons=dict.fromkeys(('scale', 'queries', 'anchors', 'epochs', 'learning_rate'), 'Because.'),
    )
    return Recipe(**{**defaults, **values})


def write(
    folder: Path,
    classes: Sequence[str] = ('a', 'b'),
    paths: DataPaths = PATHS,
    base: BaseModel | None = None,
    seen: Sequence[str] = (),
    **values: Any,
) -> Config:
    """Write a config, read it as mmengine does."""
    base = base or BaseModel(FROM_SCRATCH, 16, denoising=True)
    path = folder / 'cells.py'
    text = config_text(path, CONFIGS, paths, classes, recipe(base.small, **values), base, seen)
    path.write_text(text, encoding='utf-8')
    return Config.fromfile(path)


AWKWARD = [
    "it's",
    'say "a"',
    '\'"',
    '\'\'\'"""',
    'back\\slash\\',
    '\\n',
    '\\x41',
    '$\\frac',
    '{{ fileDirname }}',
    '{{_base_.model}}',
    "{{'$HOME:x'}}",
    '{{{a}}}',
    '{a}',
    '#',
    '%s %(a)s',
    'größe 大 👩\u200d🚀',
    'a\nb',
    'a\rb',
    '\ud800',
    '\udcff',
    '\u2028',
    '\0',
    '',
    ' ',
    '(',
    ']',
    ', ',
    'x' * 500,
]


def test_class_names_come_through_exactly(tmp_path: Path):
    """Those that the checks refuse as well."""
    assert write(tmp_path, AWKWARD).metainfo.classes == tuple(AWKWARD)
    for name in AWKWARD:
        assert write(tmp_path, [name]).metainfo.classes == (name,)


@pytest.mark.parametrize('name', AWKWARD)
def test_paths_come_through_exactly(tmp_path: Path, name: str):
    paths = DataPaths(f'{name}/', (True, name), (True, f'{name}/'), (False, f'{name}.json'), (True, ''))
    base = BaseModel(SMALL, 16, f'{name}.pth', 60, denoising=True)
    cfg = write(tmp_path, paths=paths, base=base, seen=[name])
    assert cfg.load_from == f'{name}.pth'
    assert cfg.train_dataloader.dataset.ann_file == f'{name}/{name}'
    assert cfg.train_dataloader.dataset.data_prefix.img == f'{name}/{name}/'
    assert cfg.val_evaluator.ann_file == f'{name}.json'
    assert cfg.val_dataloader.dataset.data_prefix.img == f'{name}/'


@pytest.mark.parametrize('text', AWKWARD)
def test_a_comment_stays_one(text: str):
    for line in comment(text).split('\n'):
        assert line.startswith('#') or not line
    assert ast.parse(comment(text)).body == []


BASES = [
    BaseModel(FROM_SCRATCH, 16, denoising=True),
    BaseModel(SMALL, 16, 'a.pth', 60, ('a',), denoising=True),
    BaseModel(SMALL, 16, 'a.pth', 30, denoising=True),
    BaseModel(SMALL_PLAIN, 16, 'a.pth', 60),
    BaseModel(R50, 32, 'a.pth', 300),
]


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('sizes', [1, 6])
def test_every_value_acts(tmp_path: Path, base: BaseModel, sizes: int):
    """Each number of the recipe is where the Runner or the model reads it."""
    cfg = write(tmp_path, base=base, num_anchor_sizes=sizes)
    generator = cfg.model.query_generator
    generator = generator.get('generator', generator)
    assert generator.num_queries == 60
    assert (cfg.model.num_classes, cfg.model.bbox_head.selection.max_per_img) == (2, 100)
    assert cfg.train_dataloader.batch_size == cfg.val_dataloader.batch_size == 4
    assert cfg.train_dataloader.num_workers == cfg.val_dataloader.num_workers == 1
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.optim_wrapper.optimizer.fused
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == (1 if base.small else 0.1)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (55, 5)
    assert [scheduler.end for scheduler in cfg.param_scheduler] == [100, 55]
    assert cfg.auto_scale_lr.base_batch_size == 4
    assert (cfg.default_hooks.ema.momentum, cfg.default_hooks.ema.gamma) == (0.002, 200)
    assert cfg.default_hooks.visualization.interval == 20
    for split, images in (('train', 'data/cells/images/'), ('val', 'data/cells/'), ('test', 'data/cells/')):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.data_root, dataset.data_prefix.img) == ('', images)
        assert dataset.metainfo.classes == ('a', 'b')
        resize = [step for step in dataset.pipeline if 'Resize' in step.type]
        assert len(resize) == 1
        if base.small or split != 'train':
            assert resize[0].scale == ((256, 192) if base.small else (1333, 800))
        assert dataset.pipeline[-1].type == 'PackDetInputs'
    assert cfg.train_dataloader.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=0)
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == 'mine/val.json'
    starts_new = base.checkpoint is None or base.num_queries != 60
    assert (generator.initial_anchors.type == 'BoxAnchors') == starts_new
    if starts_new:
        assert generator.initial_anchors.get('num_sizes', 1) == sizes
    if base.checkpoint is None:
        # Half of √(0.2 · 0.18).
        assert cfg.model.decoder.layer.cross_attention.init_cfg.radius == 0.095
    else:
        assert cfg.load_from == 'a.pth'
        assert cfg.model.backbone.init_cfg is None


def test_a_written_config_states_what_differs(tmp_path: Path):
    """No line of prose over 100 characters, one base, and far fewer lines than the bases have."""
    write(tmp_path)
    # Where the tests run is no part of the prose.
    lines = (tmp_path / 'cells.py').read_text().replace(str(tmp_path), '').splitlines()
    longest = {True: 100, False: 120}  # prose, code
    assert [line for line in lines if len(line) > longest[line.startswith('#') and '---' not in line]] == []
    assert sum(bool(line.strip()) and not line.strip().startswith('#') for line in lines) < 75
    assert next(line for line in lines if line.startswith('_base_')).count('.py') == 1


def test_the_bases_are_found_when_config_and_repository_move_together(tmp_path: Path):
    shutil.copytree(CONFIGS / '_base_', tmp_path / 'repository/configs/_base_')
    (tmp_path / 'mine').mkdir()
    path = tmp_path / 'mine/cells.py'
    base = BaseModel(FROM_SCRATCH, 16, denoising=True)
    path.write_text(config_text(path, tmp_path / 'repository/configs', PATHS, ('a',), recipe(), base, []))
    (tmp_path / 'moved').mkdir()
    for name in ('mine', 'repository'):
        (tmp_path / name).rename(tmp_path / 'moved' / name)
    assert Config.fromfile(tmp_path / 'moved/mine/cells.py').model.backbone.depth == 18
