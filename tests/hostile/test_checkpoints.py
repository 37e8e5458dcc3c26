"""No hostile or broken checkpoint is taken, and none takes memory or time."""

from __future__ import annotations

import re
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import MultiStepLR, OptimWrapper
from safetensors.torch import save_file
from torch import nn

from benchmarks.hostile import checkpoints
from benchmarks.hostile.trial import Guarded
from mmdet_dab.checkpoints.local import load_local
from mmdet_dab.checkpoints.match import match_weights
from mmdet_dab.engine.trust import check_gradients, check_optimizer, check_resumable, check_schedulers, disarm
from mmdet_dab.errors import CheckpointError

#: What takes seconds to write: the command has it.
LARGE = re.compile('bomb|brackets')


class Resuming:
    """A small model, and what a training run needs of a checkpoint to go on with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.Linear(32, 64), nn.Linear(64, 2))
        weights = [{'params': [weight]} for weight in self.model.parameters()]
        self.wrapper = OptimWrapper(torch.optim.AdamW(weights, lr=1e-3))
        self.scheduler = MultiStepLR(self.wrapper, milestones=[3], by_epoch=True)
        for weight in self.model.parameters():
            weight.grad = torch.zeros_like(weight)
        self.wrapper.optimizer.step()

    def save(self, path: Path) -> None:
        """A sound checkpoint."""
        average = {f'module.{name}': tensor for name, tensor in self.model.state_dict().items()}
        progress = dict(images=6, validated=False, stop_training=False, batch_size=2, processes=1, order_seed=3)
        hub = {
            'log_scalars': {'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])},
            'runtime_info': {'epoch': 1},
            'resumed_keys': {'train/loss': True},
        }
        meta = {'epoch': 1, 'iter': 3, 'seed': 0, 'progress': progress, 'dataset_meta': {'classes': ('square', 'bar')}}
        content = dict(
            meta={**meta, 'cfg': 'model = dict()'},
            state_dict=self.model.state_dict(),
            ema_state_dict={'steps': torch.tensor(3), **average},
            message_hub=hub,
            optimizer=self.wrapper.state_dict(),
            param_schedulers=[self.scheduler.state_dict()],
        )
        torch.save(content, path)

    def predict_with(self, path: Path) -> None:
        """As ``test`` and ``infer`` take one."""
        match_weights(self.model, load_local(str(path)), ('square', 'bar'), whole=True)

    def go_on_from(self, path: Path) -> None:
        """As ``--resume`` takes one."""
        content = load_local(str(path))
        disarm(content, [str(self.folder)])
        check_resumable(content, self.model)
        check_optimizer(content['optimizer'], self.wrapper, self.model)
        check_schedulers(content['param_schedulers'], [self.scheduler])
        check_gradients(content.get('gradients'), self.model)


def attempt(function, path: Path) -> str:
    """``'taken'``, ``'refused'``, or what went wrong."""
    started = time.process_time()
    try:
        function(path)
        ended = 'taken'
    except CheckpointError as error:
        ended = 'refused' if '\n' not in str(error) else f'a message of several lines: {error}'
    except Exception as error:
        ended = f'{type(error).__name__}: {error}'
    return ended if time.process_time() - started < 5 else 'slow'


def test_every_variant(tmp_path: Path):
    resuming = Resuming(tmp_path)
    good = tmp_path / 'good.pth'
    resuming.save(good)
    guarded = Guarded(tmp_path / 'guarded')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = []
    tried = 0
    for number, variant in enumerate(checkpoints.variants(good, guarded.mark, guarded.folder)):
        if LARGE.search(variant.name):
            continue
        tried += 1
        path = tmp_path / f'{number}{variant.suffix}'
        variant.write(path)
        refused, taken = {'refused'}, {'taken'}
        expected = {
            checkpoints.ALL: (refused, refused),
            checkpoints.FIT: (refused, refused),
            checkpoints.RESUME: (taken, refused),
            checkpoints.NOBODY: (taken, taken),
            checkpoints.ANY: (refused | taken, refused | taken),
        }[variant.refused_by]
        if variant.suffix == '.safetensors':
            expected = (expected[0], refused)
        for function, allowed in zip((resuming.predict_with, resuming.go_on_from), expected, strict=True):
            ended = attempt(function, path)
            if ended not in allowed:
                wrong.append(f'{variant.name}, {function.__name__}: {ended:.150}')
        if harm := guarded.harm():
            wrong.append(f'{variant.name}: {harm}')
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert not wrong, '\n'.join(wrong)
    assert tried > 250
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes


def test_memory_is_not_taken_by_a_call(tmp_path: Path):
    """``bytearray`` is among what torch lets any file call."""
    path = tmp_path / 'call.pth'
    torch.save({'state_dict': {'a': torch.zeros(1)}, 'extra': checkpoints.Call(bytearray, 1 << 33)}, path)
    with pytest.raises(CheckpointError, match='bytearray'):
        load_local(str(path))


def test_mmengine_reads_with_our_limits(tmp_path: Path):
    """``load_from``, ``Pretrained`` and mmdet's ``init_detector`` go through this function of mmengine."""
    from mmengine.runner.checkpoint import CheckpointLoader

    (tmp_path / 'text.pth').write_text('<html>')
    with pytest.raises(CheckpointError, match=r'text\.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'text.pth'), map_location='cpu')


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        ({'state_dict': {'a': torch.tensor([1.0, float('nan')])}}, 'a holds NaN'),
        ({'model': {'a': torch.zeros(3).to_sparse()}}, 'a is sparse'),
        ({'state_dict': {'a': 'text'}}, 'state_dict'),
        ({}, 'none'),
    ],
    ids=['NaN', 'sparse', 'text', 'nothing'],
)
def test_weights_that_are_none_are_refused_where_mmengine_reads_them(content: dict, named: str, tmp_path: Path):
    torch.save(content, tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=named) as raised:
        load_local(str(tmp_path / 'weights.pth'))
    assert 'weights.pth' in str(raised.value)


@pytest.mark.parametrize(
    ('weights', 'named'),
    [
        ({'a': torch.tensor([1.0, float('nan')])}, 'a holds NaN'),
        ({'a': torch.zeros(2, dtype=torch.int32)}, 'floating-point'),
    ],
    ids=['NaN', 'whole numbers'],
)
@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_weights_are_looked_at_in_every_form(weights: dict, named: str, ending: str, tmp_path: Path):
    path = tmp_path / f'weights{ending}'
    save_file(weights, path) if ending == '.safetensors' else torch.save(weights, path)
    with pytest.raises(CheckpointError, match=named):
        load_local(str(path))


def changed(folder: Path, change) -> tuple[Resuming, Path]:
    """A small model, and a checkpoint of it with one thing in it changed."""
    resuming = Resuming(folder)
    path = folder / 'changed.pth'
    resuming.save(path)
    content = torch.load(path, weights_only=False)  # written above
    change(content)
    torch.save(content, path)
    return resuming, path


def test_a_checkpoint_that_says_nothing_of_itself_predicts(tmp_path: Path):
    """``init_detector`` looks for class names in ``meta`` where there is such a key."""
    resuming, path = changed(tmp_path, lambda content: content.update(meta=None))
    resuming.predict_with(path)
    assert 'meta' not in load_local(str(path))


@pytest.mark.parametrize('answer', ['maybe', False, None])
def test_what_is_kept_of_the_log_is_not_asked_of_the_file(answer: object, tmp_path: Path):
    """MMEngine compares it with its own answer at the first value that is logged."""
    resuming, path = changed(tmp_path, lambda content: content['message_hub']['resumed_keys'].update(epoch=answer))
    content = load_local(str(path))
    disarm(content, [str(tmp_path)])
    check_resumable(content, resuming.model)
    assert content['message_hub']['resumed_keys'] == {'train/loss': True, 'epoch': True}


@pytest.mark.parametrize(('key', 'value'), [('betas', (2, 3)), ('lr', -1.0), ('eps', -1e-8), ('weight_decay', -1)])
def test_rates_that_no_optimizer_begins_with(key: str, value: object, tmp_path: Path):
    resuming, path = changed(tmp_path, lambda content: content['optimizer']['param_groups'][1].update({key: value}))
    with pytest.raises(CheckpointError, match=r'optimizer\.param_groups\.1'):
        resuming.go_on_from(path)
