"""Bare names and our prefix resolve from every registry, and mmdet keeps its own names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mmdet.registry
import mmengine.registry
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from torch import nn

from mmdet_dab import registry
from tests.helpers import tiny

for _node in registry.REGISTRIES:
    _node.import_from_location()  # they fill when they are first asked

#: Our registry, mmdet's, and the root of both.
FAMILIES = [
    (getattr(registry, name), getattr(mmdet.registry, name), getattr(mmengine.registry, name))
    for name in (
        'MODELS',
        'TASK_UTILS',
        'WEIGHT_INITIALIZERS',
        'DATASETS',
        'HOOKS',
        'LOOPS',
        'DATA_SAMPLERS',
        'VISBACKENDS',
    )
]
PARTS = [(ours, mmdets, root, name) for ours, mmdets, root in FAMILIES for name in ours.module_dict]
IDS = [part[-1] for part in PARTS]
#: Names that mean mmdet's part without the prefix.
OF_BOTH = ['ClassificationCost']


@pytest.fixture
def spare_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what it likes."""
    for family in FAMILIES:
        for node in family:
            monkeypatch.setattr(node, '_module_dict', dict(node.module_dict))


@pytest.fixture
def our_scope() -> Iterator[None]:
    """As a config has it whose ``default_scope`` is ``'mmdet_dab'``."""
    with DefaultScope.overwrite_default_scope('mmdet_dab'):
        yield


def test_every_registry_of_ours_is_here():
    assert [ours for ours, *_ in FAMILIES] == list(registry.REGISTRIES)


def test_there_are_parts_to_look_at():
    assert any(ours is registry.MODELS for ours, *_ in PARTS)
    assert any(ours is registry.DATASETS for ours, *_ in PARTS)


@pytest.mark.parametrize(('ours', 'mmdets', 'root', 'name'), PARTS, ids=IDS)
def test_every_part_resolves_by_its_prefix(ours: Registry, mmdets: Registry, root: Registry, name: str):
    part = ours.module_dict[name]
    for node in (ours, mmdets, root):
        assert node.get(f'mmdet_dab.{name}') is part


@pytest.mark.parametrize(('ours', 'mmdets', 'root', 'name'), PARTS, ids=IDS)
def test_every_part_resolves_by_its_bare_name(ours: Registry, mmdets: Registry, root: Registry, name: str):
    part = ours.module_dict[name]
    assert ours.get(name) is part
    assert (mmdets.get(name) is part) == (name not in OF_BOTH)


@pytest.mark.parametrize(('ours', 'mmdets', 'root', 'name'), PARTS, ids=IDS)
@pytest.mark.usefixtures('our_scope')
def test_every_part_resolves_in_our_scope(ours: Registry, mmdets: Registry, root: Registry, name: str):
    for node in (ours, mmdets):
        with node.switch_scope_and_registry(None) as found:
            assert found.get(name) is ours.module_dict[name]


def test_names_of_both():
    assert registry.names_of_both() == OF_BOTH
    theirs = mmdet.registry.TASK_UTILS.get('ClassificationCost')
    assert theirs.__module__.startswith('mmdet.')
    assert registry.TASK_UTILS.get('ClassificationCost').__module__.startswith('mmdet_dab.')
    assert registry.TASK_UTILS.get('mmdet.ClassificationCost') is theirs


def test_mmdet_keeps_its_own_names():
    from mmdet.models.dense_heads import DABDETRHead
    from mmdet.models.detectors import DABDETR
    from mmdet.models.layers import SinePositionalEncoding

    for part in (DABDETR, DABDETRHead, SinePositionalEncoding):
        assert mmdet.registry.MODELS.get(part.__name__) is part
        assert registry.MODELS.get(part.__name__) is part


@pytest.mark.usefixtures('our_scope')
@pytest.mark.parametrize('name', ['ResNet', 'mmdet.ResNet', 'DetDataPreprocessor', 'Linear'])
def test_our_registry_falls_back_to_mmdets(name: str):
    with registry.MODELS.switch_scope_and_registry(None) as node:
        assert node is registry.MODELS
        assert node.get(name) is mmdet.registry.MODELS.get(name)
        assert node.get(name) is not None


@pytest.mark.usefixtures('our_scope')
def test_other_registries_of_ours_fall_back_too():
    for kind, name in (
        ('TASK_UTILS', 'HungarianAssigner'),
        ('DATASETS', 'CocoDataset'),
        ('HOOKS', 'NumClassCheckHook'),
    ):
        assert getattr(registry, kind).get(name) is getattr(mmdet.registry, kind).get(name) is not None


def test_unknown_names():
    assert registry.MODELS.get('NoSuchPart') is None
    for node in (registry.MODELS, mmdet.registry.MODELS):
        with pytest.raises(KeyError, match='NoSuchPart'):
            node.build(dict(type='NoSuchPart'))
        with pytest.raises(KeyError, match=r'mmdet_dab\.NoSuchPart'):
            node.build(dict(type='mmdet_dab.NoSuchPart'))


@pytest.mark.usefixtures('our_scope')
def test_a_detector_is_built_in_our_scope():
    """The same config that is otherwise built under ``default_scope = 'mmdet'``."""
    model = registry.MODELS.build(tiny.tiny_config())
    names = {type(part).__module__.split('.')[0] for part in (model, model.encoder, model.bbox_head)}
    assert names == {'mmdet_dab'}
    assert type(model.data_preprocessor).__module__.startswith('mmdet.')
    assert type(model.bbox_head.loss_iou).__module__.startswith('mmdet.')


def test_the_scope_can_stand_in_a_config(tmp_path):
    from mmengine.runner import Runner

    config = Config(dict(model=tiny.tiny_config(), work_dir=str(tmp_path), default_scope='mmdet_dab'))
    with DefaultScope.overwrite_default_scope('mmdet'):  # a Runner's scope stays behind it
        runner = Runner.from_cfg(config)
    assert type(runner.model).__module__.startswith('mmdet_dab.')
    assert type(runner.model.data_preprocessor).__module__.startswith('mmdet.')


@pytest.mark.usefixtures('spare_registries')
def test_the_same_name_in_both_is_no_clash():
    @registry.MODELS.register_module(name='DABDETR')
    class Ours(nn.Module):
        pass

    mmdets = mmdet.registry.MODELS.get('DABDETR')
    registry.offer_to_mmdet()
    assert mmdet.registry.MODELS.get('DABDETR') is mmdets
    assert mmdet.registry.MODELS.get('mmdet_dab.DABDETR') is Ours
    assert registry.names_of_both() == [*OF_BOTH, 'DABDETR']


@pytest.mark.usefixtures('spare_registries')
@pytest.mark.parametrize('prefix', ['', 'mmdet_dab.'])
def test_a_part_of_ours_is_built_inside_one_of_mmdet_and_the_other_way_round(prefix: str):
    @registry.MODELS.register_module()
    class Inner(nn.Module):
        def __init__(self, child: dict[str, Any] | None = None) -> None:
            super().__init__()
            self.child = registry.MODELS.build(child) if child else None

    @mmdet.registry.MODELS.register_module()
    class Outer(nn.Module):
        def __init__(self, child: dict[str, Any]) -> None:
            super().__init__()
            self.child = mmdet.registry.MODELS.build(child)

    registry.offer_to_mmdet()
    # mmdet's -> ours -> mmdet's.
    config = dict(type='Outer', child=dict(type=f'{prefix}Inner', child=dict(type='FocalLoss', use_sigmoid=True)))
    built = mmdet.registry.MODELS.build(config)
    assert isinstance(built.child, Inner)
    assert type(built.child.child).__name__ == 'FocalLoss'
    assert type(built.child.child).__module__.startswith('mmdet.')


@pytest.mark.usefixtures('spare_registries')
def test_new_parts_can_be_offered_again():
    @registry.TASK_UTILS.register_module()
    class NewMatcher:
        pass

    assert mmdet.registry.TASK_UTILS.get('mmdet_dab.NewMatcher') is NewMatcher
    registry.offer_to_mmdet()
    registry.offer_to_mmdet()
    assert mmdet.registry.TASK_UTILS.get('NewMatcher') is NewMatcher


@pytest.mark.usefixtures('spare_registries')
def test_a_part_that_comes_later_has_its_bare_name_too():
    @registry.MODELS.register_module()
    class ComesLater(nn.Module):
        pass

    assert mmdet.registry.MODELS.get('ComesLater') is ComesLater
