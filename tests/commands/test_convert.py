"""``mmdet-dab convert`` from the outside: weights in, weights out, and what it says of bad input."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.apis import init_detector
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from mmdet_dab.checkpoints import LAYOUTS, convert, read_checkpoint
from mmdet_dab.checkpoints.mmdet import MMDET
from mmdet_dab.commands.arguments import add_overrides
from mmdet_dab.config import load_config
from mmdet_dab.registry import MODELS
from tests.helpers.commands import Commands
from tests.helpers.golden import GoldenCase
from tests.helpers.tiny_task import CLASSES, MODEL, Task


@pytest.fixture(scope='module')
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors release it, with their options in it."""
    path = tmp_path_factory.mktemp('released') / 'checkpoint.pth'
    torch.save({**GoldenCase.load('dab_detr_r50').checkpoint(), 'args': argparse.Namespace(lr=1e-4), 'epoch': 49}, path)
    return path


@pytest.fixture(scope='module')
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as mmdet's DABDETR leaves it, of the tiny detector of the commands' tests."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(MODEL).model)
    model.init_weights()
    path = tmp_path_factory.mktemp('mmdet') / 'epoch_1.pth'
    meta = dict(epoch=1, dataset_meta=dict(CLASSES=CLASSES, PALETTE=[(1, 2, 3), (4, 5, 6)]))
    torch.save(dict(meta=meta, state_dict=MMDET.from_ours(model.state_dict()), message_hub={}), path)
    return path


def cell(table: str, label: str) -> str:
    (found,) = re.findall(rf'^{label} +(.*)$', table, re.MULTILINE)
    return found


# --- In


def test_a_released_file_becomes_a_checkpoint_of_mmengine(command: Commands, released: Path, tmp_path: Path):
    table = command('convert', released, tmp_path / 'new/ours.pth')
    assert cell(table, 'layout').startswith("authors: the authors' release")
    assert cell(table, 'tensors') == '584 taken of 590, 609 written'
    assert cell(table, 'renamed') == '584'
    assert cell(table, 'dropped') == '6, equal to bbox_embed'
    assert cell(table, 'class rows') == "80 of 91, COCO's classes among the ids 0..90"
    assert cell(table, 'config') == 'dab_detr_r50_50e'
    assert 'DC5' in cell(table, 'note')
    read = read_checkpoint(tmp_path / 'new/ours.pth')
    assert read['meta']['dataset_meta']['classes'] == CocoDataset.METAINFO['classes']
    assert read['meta']['converted_from'] == dict(file='checkpoint.pth', layout='authors', config='dab_detr_r50_50e')
    expected = convert(read_checkpoint(released, allow=(argparse.Namespace,)), 80)
    assert read['state_dict'].keys() == expected.keys()
    assert all(torch.equal(read['state_dict'][name], tensor) for name, tensor in expected.items())


def test_all_rows_for_coco_s_ids(command: Commands, released: Path, tmp_path: Path):
    table = command('convert', released, tmp_path / 'ours.pth', '--num-classes', 91)
    assert cell(table, 'class rows') == '91 of 91, all'
    names = read_checkpoint(tmp_path / 'ours.pth')['meta']['dataset_meta']['classes']
    assert (len(names), names[0], names[1], names[12], names[90]) == (91, 'N/A', 'person', 'N/A', 'toothbrush')


def test_what_was_converted_is_tested_and_knows_its_classes(
    command: Commands, task: Task, theirs: Path, tmp_path: Path
):
    """``mmdet-dab test`` (by way of ``load_from``) and ``init_detector`` take the file as it is."""
    table = command('convert', theirs, tmp_path / 'ours.pth', '--config', task.config)
    assert cell(table, 'layout').startswith('mmdet: ')
    assert cell(table, 'class rows') == '2 of 2, all'
    detector = init_detector(str(task.config), str(tmp_path / 'ours.pth'), device='cpu')
    assert tuple(detector.dataset_meta['classes']) == CLASSES
    known = read_checkpoint(tmp_path / 'ours.pth')['meta']['dataset_meta']
    assert known == dict(classes=CLASSES, palette=[(1, 2, 3), (4, 5, 6)])
    weights = torch.load(theirs, weights_only=True)['state_dict']
    assert torch.equal(detector.bbox_head.class_branch.weight, weights['bbox_head.fc_cls.weight'])
    output = command('test', task.config, tmp_path / 'ours.pth', '--work-dir', tmp_path, *task.options)
    assert f'Load checkpoint from {tmp_path / "ours.pth"}' in output
    assert 'coco/bbox_mAP' in output
    assert not re.search(r'missing keys|unexpected key|size mismatch', output)


# --- Out


def test_out_to_hugging_face_and_back(command: Commands, task: Task, theirs: Path, tmp_path: Path):
    """The tiny detector, with a fourth stage of the backbone and boxes at temperature 10000, as it must be there."""
    backbone = ('num_stages=4', 'strides=(1,2,2,2)', 'dilations=(1,1,1,1)', 'out_indices=(3,)')
    theirs_way = (*(f'model.backbone.{option}' for option in backbone), 'model.neck.in_channels=[64]')
    options = (
        '--cfg-options',
        *theirs_way,
        'model.neck.norm_cfg=None',
        'model.positional_encoder.box_temperature=10000',
    )
    cfg = load_config(str(task.config), parse(options[1:]))
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(meta=dict(dataset_meta=dict(classes=CLASSES)), state_dict=state), tmp_path / 'trained.pth')
    table = command('convert', 'trained.pth', 'out', '--to', 'huggingface', '--config', task.config, *options)
    assert cell(table, 'layout') == 'mmdet_dab: this project'
    assert 'clamps σ⁻¹ at 1e-5' in cell(table, 'note')
    settings = json.loads((tmp_path / 'out/config.json').read_text())
    assert settings['id2label'] == {'0': CLASSES[0], '1': CLASSES[1]}
    assert json.loads((tmp_path / 'out/preprocessor_config.json').read_text())['size']['shortest_edge'] == 64
    command('convert', 'out/model.safetensors', 'back.pth', '--config', task.config, *options)
    back = read_checkpoint(tmp_path / 'back.pth')
    assert back['meta']['dataset_meta']['classes'] == CLASSES, "from the config's metainfo"
    for name, tensor in state.items():
        assert name.endswith('num_batches_tracked') or torch.equal(back['state_dict'][name], tensor), name


def parse(options: tuple[str, ...]) -> dict[str, Any]:
    """As ``--cfg-options`` reads them."""
    parser = argparse.ArgumentParser()
    add_overrides(parser)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def test_what_has_no_equal_there_is_refused(command: Commands, task: Task, theirs: Path):
    line = command.error('convert', theirs, 'out', '--to', 'huggingface', '--config', task.config)
    assert 'model.backbone.num_stages is 3' in line
    assert not Path('out').exists()


# --- Bad input: one sentence


class Code:
    def __reduce__(self):
        return os.system, ('touch trace',)


def changed(source: Path, target: str, **changes: torch.Tensor | None) -> str:
    """The file with tensors replaced, added or taken out."""
    read = torch.load(source, weights_only=False)
    weights = {**read['state_dict'], **{name.replace('__', '.'): tensor for name, tensor in changes.items()}}
    torch.save({**read, 'state_dict': {name: t for name, t in weights.items() if t is not None}}, target)
    return target


def test_tensors_that_do_not_fit_are_named(command: Commands, task: Task, theirs: Path):
    config = ('ours.pth', '--config', task.config)
    left_over = changed(theirs, 'a.pth', label_enc__weight=torch.zeros(1))
    assert "a.pth: 'label_enc.weight' has no place" in command.error('convert', left_over, *config)
    no_place = changed(theirs, 'b.pth', backbone__layer9__weight=torch.zeros(1))
    assert "has no place for 'backbone.layer9.weight'" in command.error('convert', no_place, *config)
    missing = changed(theirs, 'c.pth', decoder__post_norm__weight=None)
    assert "misses 'decoder.norm.weight'" in command.error('convert', missing, *config)
    shape = changed(theirs, 'd.pth', decoder__post_norm__weight=torch.zeros(5))
    assert "'decoder.post_norm.weight' ('decoder.norm.weight': 5 in the checkpoint, 128 here)" in command.error(
        'convert', shape, *config
    )
    assert not Path('ours.pth').exists()


def test_a_layout_that_is_not_known(command: Commands):
    torch.save({'fc.weight': torch.zeros(1)}, 'a.pth')
    line = command.error('convert', 'a.pth', 'ours.pth')
    assert 'checkpoint a.pth: the layout is not known' in line
    assert all(layout.source in line for layout in LAYOUTS)


def test_files_that_are_no_weights(command: Commands, tmp_path: Path):
    torch.save({'model': Code(), 'args': argparse.Namespace()}, 'code.pth')
    line = command.error('convert', 'code.pth', 'ours.pth')
    assert f'{os.system.__module__}.system' in line
    assert 'Namespace' not in line
    assert not (tmp_path / 'trace').exists()
    torch.save({'model': {}, 'args': torch.nn.Linear(1, 1)}, 'module.pth')
    assert 'torch.nn.modules.linear.Linear' in command.error('convert', 'module.pth', 'ours.pth')
    Path('page.pth').write_text('<html>')
    assert 'page.pth is cut off, damaged or not a checkpoint' in command.error('convert', 'page.pth', 'ours.pth')
    torch.save({'epoch': 3}, 'epoch.pth')
    assert 'epoch.pth holds no tensors by name' in command.error('convert', 'epoch.pth', 'ours.pth')
    assert 'gone.pth does not exist' in command.error('convert', 'gone.pth', 'ours.pth')
    assert 'is a folder: name the file of weights in it' in command.error('convert', tmp_path, 'ours.pth')


def test_class_counts_that_the_file_cannot_give(command: Commands, task: Task, theirs: Path):
    arguments = (theirs, 'ours.pth', '--config', task.config, '--num-classes')
    assert 'num_classes=80: the checkpoint has 2 class rows, give 2' in command.error('convert', *arguments, 80)


def test_targets_that_would_destroy_something(command: Commands, theirs: Path, tmp_path: Path):
    assert 'would overwrite the source' in command.error('convert', theirs, theirs.parent / '.' / theirs.name)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/model.safetensors').write_bytes(b'')
    assert 'would overwrite the source' in command.error(
        'convert', 'out/model.safetensors', 'out', '--to', 'huggingface'
    )
    assert 'is a folder: name the file to write' in command.error('convert', theirs, 'out')
    (tmp_path / 'file').write_bytes(b'')
    assert 'written into a folder' in command.error('convert', theirs, 'file', '--to', 'huggingface')


def test_no_config_fits_and_none_was_named(command: Commands, theirs: Path):
    assert 'no config of ours fits these weights: name the config' in command.error('convert', theirs, 'ours.pth')


def test_ours_are_not_converted_to_ours(command: Commands, task: Task):
    torch.save(dict(state_dict=MODELS.build(Config.fromfile(MODEL).model).state_dict()), 'a.pth')
    assert 'is in the layout of this project already' in command.error(
        'convert', 'a.pth', 'b.pth', '--config', task.config
    )
