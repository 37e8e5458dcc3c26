"""Weights under other keys and behind prefixes are found, and only where that is plain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmdet_dab.checkpoints import CheckpointError, load_weights, match_weights, read_weights, recognise
from mmdet_dab.checkpoints.authors import AUTHORS
from mmdet_dab.checkpoints.known_layouts import OURS
from mmdet_dab.checkpoints.unwrap import stored_weights, without_prefix
from tests.helpers import tiny
from tests.helpers.golden import GoldenCase

WEIGHTS = {'a.weight': torch.zeros(2), 'a.bias': torch.ones(2)}
OTHERS = {name: tensor + 7 for name, tensor in WEIGHTS.items()}


def behind(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    ('content', 'keys'),
    [
        (WEIGHTS, ()),
        ({'model': WEIGHTS, 'epoch': 3}, ('model',)),
        ({'ema': {'module': WEIGHTS, 'updates': 9}, 'model': OTHERS}, ('ema', 'module')),
        ({'model': OTHERS, 'ema_model': WEIGHTS}, ('ema_model',)),
        ({'state_dict': WEIGHTS, 'ema_state_dict': OTHERS}, ('state_dict',)),  # as mmengine's EMAHook saves them
        ({'ema': 0.999, 'state_dict': WEIGHTS}, ('state_dict',)),
    ],
)
def test_averaged_weights_come_first(content, keys):
    weights, found = stored_weights(content)
    assert found == keys
    assert weights['a.bias'].tolist() == [1, 1]


@pytest.mark.parametrize('content', [{}, 3, {'epoch': 3}, {'model': {'a': 'text'}}, [WEIGHTS], {1: WEIGHTS['a.bias']}])
def test_no_weights(content):
    assert stored_weights(content) is None


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', 'ema.module.', '_orig_mod.module.'])
def test_one_prefix_is_taken_off(prefix):
    found = without_prefix({**behind(prefix, WEIGHTS), 'n_averaged': torch.ones(1)}, WEIGHTS, least=2)
    assert set(found) - {'n_averaged'} == set(WEIGHTS)


def test_of_several_models_the_plain_or_averaged_one_is_taken_and_others_are_refused():
    both = {**behind('model.', OTHERS), **behind('model_ema.', WEIGHTS)}
    assert without_prefix(both, WEIGHTS, least=2)['a.bias'].tolist() == [1, 1]
    plain = {**WEIGHTS, **behind('model_ema.', OTHERS)}
    assert without_prefix(plain, WEIGHTS, least=2)['a.bias'].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match=r'teacher\., student\.|student\., teacher\.'):
        without_prefix({**behind('teacher.', OTHERS), **behind('student.', WEIGHTS)}, WEIGHTS, least=2)


def test_too_few_of_the_names_are_no_reason():
    assert without_prefix({'x.a.weight': torch.ones(1)}, WEIGHTS, least=2) is None


@pytest.mark.parametrize(
    'wrap',
    [
        lambda weights: {'model': behind('module.', weights)},
        lambda weights: {'ema': weights},
        lambda weights: {'ema_model': behind('module.', weights), 'epoch': 1},
        lambda weights: {'ema': {'module': weights}},
    ],
)
def test_released_names_are_recognised_behind_a_wrapper(tmp_path: Path, wrap):
    names = GoldenCase.load('dab_detr_r50').spec['parameters']
    released = {name: torch.zeros(1) for name in names}
    torch.save(wrap(released), tmp_path / 'a.pth')
    weights, _ = read_weights(tmp_path / 'a.pth')
    assert weights.keys() == released.keys()
    assert recognise(weights) is AUTHORS


# --- Into a model


@pytest.fixture(scope='module')
def trained() -> torch.nn.Module:
    return tiny.build()


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: {'state_dict': state, 'meta': {'dataset_meta': {'classes': ('a', 'b', 'c')}}},
        lambda state: {'state_dict': behind('module.', state), 'meta': {}},
        lambda state: {'ema': {'module': state, 'updates': 9}, 'model': behind('other.', state)},
        lambda state: {'model': behind('detector.', state)},
        lambda state: behind('ema.module.', state),
    ],
)
def test_a_model_takes_its_weights_out_of_any_wrapper(tmp_path: Path, trained, wrap):
    torch.save(wrap(trained.state_dict()), tmp_path / 'a.pth')
    model = tiny.build()
    for parameter in model.parameters():
        parameter.detach().zero_()
    stored = load_weights(model, tmp_path / 'a.pth')
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert stored.get('classes') in (None, ('a', 'b', 'c'))


def test_mmdets_detectors_are_unwrapped_by_their_own_names():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    state = match_weights(model, {'ema': {'module': behind('net.', model.state_dict())}})
    assert state.keys() == model.state_dict().keys()


def test_half_of_the_weights_are_refused_for_prediction_and_named_in_training(tmp_path: Path, trained):
    state = trained.state_dict()
    torch.save({'state_dict': dict(list(state.items())[: len(state) // 2])}, tmp_path / 'half.pth')
    with pytest.raises(CheckpointError, match=r'half\.pth: .*not in the checkpoint.*: '):
        load_weights(tiny.build(), tmp_path / 'half.pth')
    match_weights(tiny.build(), torch.load(tmp_path / 'half.pth', weights_only=True))


def test_unknown_classes_are_refused_for_prediction(tmp_path: Path, trained):
    meta = {'dataset_meta': {'classes': ('a', 'b', 'c')}}
    torch.save({'state_dict': trained.state_dict(), 'meta': meta}, tmp_path / 'a.pth')
    two = tiny.build(bbox_head=dict(num_classes=2))
    assert load_weights(two, tmp_path / 'a.pth', classes=('c', 'a')) == {'classes': ('c', 'a')}
    rows = [model.bbox_head.class_branch.weight for model in (two, trained)]
    assert torch.equal(rows[0], rows[1][[2, 0]])
    with pytest.raises(CheckpointError, match=r'1 class .*\(dog\)'):
        load_weights(two, tmp_path / 'a.pth', classes=('a', 'dog'))
    # As many rows: they are those of the checkpoint, with its names.
    assert load_weights(tiny.build(), tmp_path / 'a.pth', classes=('x', 'y', 'z')) == {'classes': ('a', 'b', 'c')}


def test_names_of_earlier_checkpoints_are_known(trained):
    state = trained.state_dict()
    before = {
        name.replace('positional_query.position_scale.', 'positional_query.content_scale.'): tensor
        for name, tensor in state.items()
    }
    assert before.keys() != state.keys()
    assert match_weights(trained, {'state_dict': before}, whole=True).keys() == state.keys()
    assert OURS.convert(before).state.keys() == state.keys()
