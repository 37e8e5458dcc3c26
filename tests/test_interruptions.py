"""The campaign of interruptions sees every difference, and nothing but differences."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from benchmarks.interruptions import VARIANTS, config_of, differences, plain


def left():
    return {
        'epoch_1.pth': {
            'state_dict': {'weight': torch.tensor([0.5, float('nan')])},
            'optimizer': {'param_groups': [{'lr': 1e-3, 'betas': (0.9, 0.99)}]},
            'message_hub': {
                'log_scalars': {'train/loss': HistoryBuffer([1.0, 2.0], [1, 1]), 'train/time': HistoryBuffer()},
                'runtime_info': {'best_ckpt': '/one/best.pth'},
            },
        }
    }


def change(path, value):
    changed = left()
    node = changed['epoch_1.pth']
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return plain(changed)


def test_equal_ones_do_not_differ():
    assert list(differences(plain(left()), plain(copy.deepcopy(left())))) == []


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('state_dict', 'weight'), torch.tensor([np.nextafter(np.float32(0.5), np.float32(1)), float('nan')])),
        (('state_dict', 'weight'), torch.tensor([0.5, 0.0])),
        (('state_dict', 'other'), torch.zeros(1)),
        (('optimizer', 'param_groups'), []),
        (('optimizer', 'param_groups', 0, 'lr'), 2e-3),
        (('message_hub', 'log_scalars', 'train/loss'), HistoryBuffer([1.0, 2.5], [1, 1])),
        (('message_hub', 'runtime_info', 'best_ckpt'), '/one/other.pth'),
    ],
)
def test_every_difference_is_seen(path, value):
    assert len(list(differences(change(path, value), plain(left())))) == 1


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('message_hub', 'log_scalars', 'train/time'), HistoryBuffer([3.0], [1])),
        (('message_hub', 'runtime_info', 'best_ckpt'), '/two/best.pth'),
    ],
)
def test_times_and_folders_may_differ(path, value):
    assert list(differences(change(path, value), plain(left()))) == []


@pytest.mark.parametrize('variant', VARIANTS, ids=lambda variant: variant.name)
def test_all_variants_take_the_same_images_in_a_step(variant, tmp_path):
    config = config_of(variant, tmp_path)
    assert config.train_dataloader.batch_size * variant.processes == 4
    assert config.default_hooks.resume
    names = [hook['type'] for hook in config.custom_hooks]
    assert 'EMAHook' in names
    assert 'Denoising' in config.model.query_generator.type
