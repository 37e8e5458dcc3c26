"""A checkpoint runs nothing, deletes nothing, and is refused before it can do harm."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import MultiStepLR, OptimWrapper
from torch import nn

from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.engine.trust import check_optimizer, check_resumable, check_schedulers, disarm
from mmdet_dab.errors import CheckpointError, shown
from tests.helpers.interrupted import Bomb, Killed, interrupted_config, train


def small_model():
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))


def wrapper_of(model):
    groups = [{'params': [weight], 'weight_decay': 0.1} for weight in model.parameters()]
    return OptimWrapper(torch.optim.AdamW(groups, lr=1e-3))


@pytest.fixture
def trained():
    """A model with a wrapper, and what a checkpoint of them holds after a step."""
    model = small_model()
    wrapper = wrapper_of(model)
    scheduler = MultiStepLR(wrapper, milestones=[3], by_epoch=True)
    wrapper.update_params(model(torch.ones(1, 4)).sum())
    checkpoint = {
        'meta': {'epoch': 1, 'iter': 3, 'seed': 0},
        'state_dict': model.state_dict(),
        'message_hub': {
            'log_scalars': {'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])},
            'runtime_info': {'best_ckpt': '/somewhere/best_ap_epoch_1.pth', 'keep_ckpt_ids': [1]},
            'resumed_keys': {'train/loss': True},
        },
        'optimizer': wrapper.state_dict(),
        'param_schedulers': [scheduler.state_dict()],
    }
    return model, wrapper, scheduler, copy.deepcopy(checkpoint)


def check(trained):
    model, wrapper, scheduler, checkpoint = trained
    check_resumable(checkpoint, model)
    check_optimizer(checkpoint['optimizer'], wrapper, model)
    check_schedulers(checkpoint['param_schedulers'], [scheduler])


def test_an_honest_checkpoint_passes(trained):
    check(trained)


def put(checkpoint, key, value):
    *path, last = key.split('/')
    for part in path:
        checkpoint = checkpoint[int(part) if part.isdigit() else part]
    checkpoint[int(last) if last.isdigit() else last] = value


def doubled(times):
    """A list of two that are one, and so on: 2 ** times items to print."""
    value = [1]
    for _ in range(times):
        value = [value, value]
    return value


def history(values, counts):
    """As a file can hold it: MMEngine itself refuses other counts than values."""
    buffer = HistoryBuffer()
    buffer._log_history, buffer._count_history = np.array(values), np.array(counts)
    return buffer


PROGRESS = dict(images=6, validated=True, stop_training=False, order_seed=0, batch_size=2, processes=1)
BROKEN = [
    ('meta', None, 'meta'),
    ('meta', {}, 'meta'),
    ('meta/iter', 10**30, 'iter'),
    ('meta/iter', -1, 'iter'),
    ('meta/epoch', '1', 'epoch'),
    ('meta/seed', 'zero', 'seed'),
    ('meta/iter', doubled(200), 'iter'),
    ('meta/progress', doubled(200), 'progress'),
    ('state_dict/0.weight', torch.full((3, 4), float('nan')), '0.weight'),
    ('state_dict/0.weight', torch.zeros(3, 4).long(), '0.weight'),
    ('state_dict/0.weight', torch.zeros(3, 4, device='meta'), '0.weight'),
    ('optimizer/state/0/exp_avg', torch.full((3, 4), float('nan')), '0.weight'),
    ('optimizer/param_groups/0/lr', doubled(200), 'lr'),
    ('meta/progress', {'images': 'all'}, 'progress'),
    ('meta/progress', {**PROGRESS, 'order_seed': 2**80}, 'order_seed'),
    ('meta/progress', {**PROGRESS, 'order_seed': -1}, 'order_seed'),
    ('meta/progress', {**PROGRESS, 'max_epochs': doubled(200)}, 'max_epochs'),
    ('meta/progress', {**PROGRESS, 'best_score': 'high'}, 'best_score'),
    ('meta/progress', {**PROGRESS, 'wait_count': 10**5000}, 'wait_count'),
    ('meta/iter', 10**5000, 'iter'),
    ('message_hub/runtime_info', {1: 2}, 'runtime_info has 1'),
    ('message_hub/runtime_info', {'best_score_coco': 'high'}, 'best_score_coco'),
    ('message_hub/runtime_info', {'epoch': 10**30}, 'epoch'),
    ('message_hub/runtime_info', {'train/note': doubled(200)}, 'train/note'),
    ('message_hub/runtime_info', {'train/note': {'a': [10**5000]}}, 'train/note'),
    ('message_hub/log_scalars', {3: HistoryBuffer([1.0], [1])}, 'log_scalars has 3'),
    ('message_hub/log_scalars', {'loss': history([1.0], [])}, 'loss'),
    ('message_hub/log_scalars', {'loss': history([], [])}, 'loss'),
    ('message_hub', None, 'message_hub'),
    ('message_hub/log_scalars/train.loss', [1, 2], 'train.loss'),
    ('state_dict', [1], 'state_dict'),
    ('state_dict/0.weight', torch.zeros(3, 5), '0.weight'),
    ('state_dict/2.weight', torch.zeros(3, 5), '2.weight'),
    ('ema_state_dict', 3, 'ema_state_dict'),
    ('ema_state_dict', {'module.0.weight': torch.zeros(1)}, 'ema_state_dict'),
    ('optimizer', 'none', 'optimizer'),
    ('optimizer/param_groups', [], 'optimizer'),
    ('optimizer/state/0/exp_avg', torch.zeros(30, 50), '0.weight'),
    ('optimizer/state/0/exp_avg', torch.zeros(3, 4).to_sparse(), '0.weight'),
    ('optimizer/state/1', [torch.zeros(3)], '0.bias'),
    ('optimizer/state/1', {'step': torch.zeros(())}, 'optimizer'),
    ('optimizer/param_groups/0/betas', 'ab', 'betas'),
    ('optimizer/param_groups/0/betas', (0.9,), 'betas'),
    ('optimizer/param_groups/0/betas', [], 'betas'),
    ('param_schedulers/0/base_values', [1e-3], 'base_values'),
    ('optimizer/param_groups/0/lr', float('nan'), 'lr'),
    ('optimizer/param_groups/0/lr', float('inf'), 'lr'),
    ('optimizer/param_groups/0/lr', 10**400, 'lr'),
    ('optimizer/param_groups/0/betas', (0.9, float('nan')), 'betas'),
    ('param_schedulers/0/base_values', [float('inf')] * 4, 'base_values'),
    ('param_schedulers', {'a': 1}, 'param_schedulers'),
    ('param_schedulers/0/step', 'text', 'step'),
    ('param_schedulers/0/milestones', 'text', 'milestones'),
]


def test_the_place_of_an_honest_checkpoint_passes(trained):
    put(trained[-1], 'meta/progress', {**PROGRESS, 'max_epochs': 3, 'max_iters': None, 'best_score': -float('inf')})
    names = [f'class {number}' for number in range(13_000)]
    notes = dict(epoch=1, best_score=0.5, cfg='x' * 10**6, classes=names, palette=[(1, 2, 3)] * 13_000)
    put(trained[-1], 'message_hub/runtime_info', notes)
    check(trained)


@pytest.mark.parametrize(
    ('key', 'value', 'named'), BROKEN, ids=[f'{key} {shown(value):.20}' for key, value, _ in BROKEN]
)
def test_what_is_broken_is_named(trained, key, value, named):
    put(trained[-1], key, value)
    with pytest.raises(CheckpointError, match=named):
        check(trained)


@pytest.mark.parametrize('steps', [None, 'text', torch.tensor(-(10**6)), torch.zeros(3), torch.tensor(0.5)])
def test_steps_of_an_average_are_counted(trained, steps):
    """A negative number of them overflows in the rate of the average."""
    average = {f'module.{name}': tensor for name, tensor in trained[0].state_dict().items()}
    put(trained[-1], 'ema_state_dict', {**average, 'steps': torch.tensor(3)})
    check(trained)
    put(trained[-1], 'ema_state_dict/steps', steps)
    with pytest.raises(CheckpointError, match=r'ema_state_dict\.steps'):
        check(trained)


def test_flags_of_the_optimizer_come_from_the_config(trained):
    group = trained[-1]['optimizer']['param_groups'][0]
    group.update(fused=True, foreach=True, amsgrad=True)
    check(trained)
    assert not group['fused']
    assert not group['amsgrad']


def test_attributes_besides_the_logged_numbers_are_left(trained):
    buffer = trained[-1]['message_hub']['log_scalars']['train/loss']
    buffer.update = 'mine'
    check(trained)
    read = trained[-1]['message_hub']['log_scalars']['train/loss']
    assert read.data[0].tolist() == [1.0, 2.0]
    assert callable(read.update)


def test_paths_lead_into_the_work_directory_or_nowhere(trained, tmp_path):
    checkpoint = trained[-1]
    info = checkpoint['message_hub']['runtime_info']
    disarm(checkpoint, [str(tmp_path)])
    assert 'best_ckpt' not in info
    (tmp_path / 'best_ap_epoch_1.pth').touch()
    (tmp_path / 'training.py').touch()
    info['best_ckpt'] = '/somewhere/best_ap_epoch_1.pth'
    info['best_ckpt_ap'] = '../training.py'
    info['keep_ckpt_ids'] = ['/../../notes']
    disarm(checkpoint, [str(tmp_path)])
    assert info == {'best_ckpt': str(tmp_path / 'best_ap_epoch_1.pth')}


@pytest.mark.usefixtures('quiet_runner')
def test_a_hostile_checkpoint_neither_runs_nor_deletes(tmp_path):
    config = interrupted_config(tmp_path)
    work_dir = tmp_path / 'work'
    with pytest.raises(Killed):
        train(config, work_dir, Bomb('before_train_iter', 7, 'LOWEST'))
    path, mark, mine = work_dir / 'iter_6.pth', tmp_path / 'mark', tmp_path / 'best_of_mine.pth'
    mine.touch()
    checkpoint = read_checkpoint(path)
    checkpoint['meta']['config'] = f'open({str(mark)!r}, "w")\ngpu_ids = [0]'
    checkpoint['meta']['iter'] = 10**9
    checkpoint['message_hub']['runtime_info'].update(best_ckpt=str(mine), best_score=-1.0)
    torch.save(checkpoint, path)
    train(config, work_dir)
    assert not mark.exists()
    assert mine.exists()
    # Its epochs count on, and it ends.
    assert read_checkpoint((work_dir / 'last_checkpoint').read_text())['meta']['epoch'] == 4


@pytest.mark.usefixtures('quiet_runner')
@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (dict(model=dict(query_generator=dict(generator=dict(num_queries=9)))), 'query_generator'),
        (dict(train_dataloader=dict(dataset=dict(metainfo=dict(classes=('bar', 'square'))))), 'bar, square'),
    ],
    ids=['queries', 'classes'],
)
def test_another_model_is_refused_before_anything_is_loaded(tmp_path, change, named):
    config = interrupted_config(tmp_path)
    with pytest.raises(Killed):
        train(config, tmp_path / 'work', Bomb('before_train_iter', 3, 'LOWEST'))
    config.merge_from_dict(change)
    with pytest.raises(CheckpointError, match=named):
        train(config, tmp_path / 'work')
