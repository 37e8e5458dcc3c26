"""The registries: our prefix resolves from everywhere, bare names are explained, mmdet keeps its own."""

from __future__ import annotations

from typing import Any

import mmdet.registry
import mmengine.registry
import pytest
from mmengine.registry import Registry
from torch import nn

from mmdet_dab import registry

#: Our registry, mmdet's, and the root of both.
FAMILIES = [
    (getattr(registry, name), getattr(mmdet.registry, name), getattr(mmengine.registry, name))
    for name in ('MODELS', 'TASK_UTILS', 'DATASETS', 'HOOKS', 'WEIGHT_INITIALIZERS')
]
PARTS = [(ours, mmdets, root, name) for ours, mmdets, root in FAMILIES for name in ours.module_dict]


@pytest.fixture
def spare_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what it likes."""
    for family in FAMILIES:
        for node in family:
            monkeypatch.setattr(node, '_module_dict', dict(node.module_dict))


def test_there_are_parts_to_look_at():
    assert any(ours is registry.MODELS for ours, *_ in PARTS)
    assert any(ours is registry.DATASETS for ours, *_ in PARTS)


@pytest.mark.parametrize(('ours', 'mmdets', 'root', 'name'), PARTS, ids=[part[-1] for part in PARTS])
def test_every_part_resolves_by_its_prefix(ours: Registry, mmdets: Registry, root: Registry, name: str):
    part = ours.module_dict[name]
    assert mmdets.get(f'mmdet_dab.{name}') is part
    assert root.get(f'mmdet_dab.{name}') is part
    assert ours.get(name) is part


@pytest.mark.parametrize(('ours', 'mmdets', 'root', 'name'), PARTS, ids=[part[-1] for part in PARTS])
def test_a_bare_name_is_mmdets_own_or_names_the_right_one(ours: Registry, mmdets: Registry, root: Registry, name: str):
    found = mmdets.get(name)
    if found.__module__.startswith('mmdet.'):
        return
    with pytest.raises(TypeError, match=rf"type='{name}' is a part of mmdet_dab: write type='mmdet_dab\.{name}'"):
        mmdets.build(dict(type=name, any_argument=1))


def test_mmdet_keeps_its_own_names():
    from mmdet.models.dense_heads import DABDETRHead
    from mmdet.models.detectors import DABDETR
    from mmdet.models.layers import SinePositionalEncoding

    for part in (DABDETR, DABDETRHead, SinePositionalEncoding):
        assert mmdet.registry.MODELS.get(part.__name__) is part


@pytest.mark.usefixtures('spare_registries')
def test_the_same_name_in_both_is_no_clash():
    @registry.MODELS.register_module(name='DABDETR')
    class Ours(nn.Module):
        pass

    mmdets = mmdet.registry.MODELS.get('DABDETR')
    registry.add_signposts()
    assert mmdet.registry.MODELS.get('DABDETR') is mmdets
    assert mmdet.registry.MODELS.get('mmdet_dab.DABDETR') is Ours


@pytest.mark.usefixtures('spare_registries')
def test_a_part_of_ours_is_built_inside_one_of_mmdet_and_the_other_way_round():
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

    # mmdet's -> ours -> mmdet's, which resolves without a prefix under default_scope = 'mmdet'.
    config = dict(type='Outer', child=dict(type='mmdet_dab.Inner', child=dict(type='FocalLoss', use_sigmoid=True)))
    built = mmdet.registry.MODELS.build(config)
    assert isinstance(built.child, Inner)
    assert type(built.child.child).__name__ == 'FocalLoss'
    assert type(built.child.child).__module__.startswith('mmdet.')


def test_an_unknown_name_under_our_prefix_is_a_key_error():
    with pytest.raises(KeyError, match=r'mmdet_dab\.NoSuchPart'):
        mmdet.registry.MODELS.build(dict(type='mmdet_dab.NoSuchPart'))


@pytest.mark.usefixtures('spare_registries')
def test_signposts_can_be_added_again_for_new_parts():
    registry.add_signposts()

    @registry.TASK_UTILS.register_module()
    class NewMatcher:
        pass

    registry.add_signposts()
    with pytest.raises(TypeError, match=r"write type='mmdet_dab\.NewMatcher'"):
        mmdet.registry.TASK_UTILS.build(dict(type='NewMatcher'))
    assert mmdet.registry.TASK_UTILS.get('mmdet_dab.NewMatcher') is NewMatcher
