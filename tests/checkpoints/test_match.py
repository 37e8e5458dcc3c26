"""Which config weights belong to, and models that do not take them."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmdet_dab.checkpoints import CheckpointError, Conversion, check_fits, config_name
from mmdet_dab.registry import MODELS
from tests.helpers.paths import CONFIGS

#: Published models whose tensors tell them apart.
PUBLISHED = [
    'dab_detr_r50_50e.py',
    'dab_detr_r50_3pat_50e.py',
    'dab_detr_r101_50e.py',
    'dab_detr_r101_3pat_50e.py',
    'dab_detr_swin_t_50e.py',
    'dab_detr_swin_b_50e.py',
    'dab_deformable_detr_r50_50e_released.py',
]


def state_of(name: str, **overrides: dict) -> dict[str, torch.Tensor]:
    config = Config.fromfile(CONFIGS / name)
    config.merge_from_dict(dict(model=overrides))
    return MODELS.build(config.model).state_dict()


@pytest.mark.parametrize('name', PUBLISHED)
def test_weights_lead_to_their_config(name: str):
    assert config_name(state_of(name)) == name


@pytest.mark.parametrize('name', ['dab_detr_r50_dc5_50e.py', 'dab_detr_r50_fixxy_3pat_50e.py'])
def test_what_tensors_cannot_tell(name: str):
    """DC5 and fixed centres have the tensors of the plain model: the tool says so, and takes --config."""
    plain = name.replace('_dc5', '').replace('_fixxy', '')
    shapes = [{key: tensor.shape for key, tensor in state_of(config).items()} for config in (name, plain)]
    assert shapes[0] == shapes[1]
    assert config_name(state_of(name)) == plain


def test_no_config_for_what_nobody_published():
    assert config_name({}) is None
    assert config_name({f'backbone.layer3.{block}.conv3.weight': torch.zeros(1) for block in range(8)}) is None
    weights = {f'backbone.layer3.{block}.conv3.weight': torch.zeros(1) for block in range(6)}
    assert config_name({**weights, 'query_generator.patterns': torch.zeros(3, 1)}) == 'dab_detr_r50_3pat_50e.py'
    assert config_name({**weights, 'query_generator.patterns': torch.zeros(5, 1)}) is None


MODEL = {'a': torch.zeros(2, 3), 'b': torch.zeros(4), 'bn.num_batches_tracked': torch.tensor(0)}


def conversion(state: dict[str, torch.Tensor]) -> Conversion:
    return Conversion(state, {name: f'their.{name}' for name in state}, {})


def test_what_fits_passes_also_without_counts_of_batches():
    check_fits(conversion(dict(MODEL)), MODEL, 'c.py')
    check_fits(conversion({'a': MODEL['a'], 'b': MODEL['b']}), MODEL, 'c.py')


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'b': None}, "of c.py misses 'b': name"),
        ({'d': torch.zeros(1)}, "of c.py has no place for 'their.d' ('d'): name"),
        (
            {'a': torch.zeros(3, 2)},
            "has another shape for 'their.a' ('a': 3×2 in the checkpoint, 2×3 here): name",
        ),
        ({'a': None, 'b': None, 'c': torch.zeros(1)}, "has no place for 'their.c' ('c'), misses 'a', 'b': name"),
        ({name: torch.zeros(1) for name in 'pqrst'}, "'their.r' ('r') and 2 more: name"),
        ({'a': torch.zeros(2, 3).bool()}, 'a holds bool'),
        ({'b': torch.tensor([1.0, 2.0, float('nan'), 3.0])}, 'b holds NaN'),
        ({'b': torch.zeros(4).to_sparse()}, 'b is sparse'),
    ],
)
def test_what_does_not_fit_is_named(change, reason):
    state = {name: tensor for name, tensor in {**MODEL, **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError) as error:
        check_fits(conversion(state), MODEL, 'c.py')
    assert reason in str(error.value)
