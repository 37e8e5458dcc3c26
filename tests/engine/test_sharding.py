"""Sharded training computes what DistributedDataParallel does, and its checkpoints are for one process too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.engine.sharding import check_shared
from mmdet_dab.errors import ConfigError
from tests.helpers.interrupted import interrupted_config
from tests.helpers.interrupted import train as train_alone
from tests.helpers.paths import CONFIGS
from tests.helpers.processes import run_in_two_processes
from tests.helpers.training import build

pytestmark = pytest.mark.slow

SWIN = dict(
    _delete_=True,
    type='mmdet.SwinTransformer',
    embed_dims=8,
    depths=(1, 1),
    num_heads=(1, 2),
    strides=(4, 2),
    out_indices=(1,),
    window_size=4,
)


def config_of(folder: Path) -> Config:
    """Three steps of two images in an epoch."""
    config = interrupted_config(folder, 'epoch')
    config.merge_from_dict(dict(model=dict(backbone=SWIN, neck=dict(in_channels=[16]))))
    config.custom_hooks = [hook for hook in config.custom_hooks if hook['type'] != 'EMAHook']
    config.train_cfg.max_epochs = 1
    config.train_dataloader.batch_size = 1
    config.default_hooks.checkpoint.interval = 1
    return config


def sharded(config: Config, work_dir: Path, resume: Path | None = None, **train_cfg: int) -> Config:
    config = config.copy()
    config.merge_from_dict(Config.fromfile(CONFIGS / '_base_/sharded.py').to_dict())
    config.train_cfg.update(train_cfg)
    config.work_dir = str(work_dir)
    config.resume, config.load_from = resume is not None, resume and str(resume)
    return config


def train(rank: int, port: int, kind: str, config: Config, folder: Path) -> None:
    """One of two processes: replicated, sharded, or sharded from the replicated run's checkpoint."""
    Config.pretty_text = 'the config'  # to format it takes longer than to train
    if kind == 'replicated':
        config.work_dir = str(folder / kind)
        build(config, 'pytorch').train()
    elif kind == 'on':
        build(sharded(config, folder / kind, folder / 'replicated/iter_2.pth', max_epochs=2), 'pytorch').train()
    else:
        model = build(sharded(config, folder / kind), 'pytorch').train()
        block = next(module for module in model.modules() if 'SwinBlock' in type(module).__name__)
        weight = next(block.parameters())
        assert weight.to_local().shape[0] == weight.shape[0] // 2, 'each process keeps a half'
        weights = list(model.parameters())
        assert sum(weight.to_local().numel() for weight in weights) < 0.6 * sum(weight.numel() for weight in weights)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sharded')
    config = config_of(folder)
    for kind in ('replicated', 'sharded', 'on'):
        run_in_two_processes(train, kind, config, folder)
    return config, folder


def close(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)


def test_a_step_is_that_of_replicated_training_and_so_is_the_checkpoint(trained):
    _, folder = trained
    ours, theirs = (read_checkpoint(folder / name / 'iter_3.pth') for name in ('sharded', 'replicated'))
    assert ours.keys() >= theirs.keys() - {'ema_state_dict'}
    assert all(type(value) is torch.Tensor for value in ours['state_dict'].values())
    noted = [checkpoint['message_hub']['runtime_info']['anchors_at_start'] for checkpoint in (ours, theirs)]
    torch.testing.assert_close(*noted)
    close(ours['state_dict'], theirs['state_dict'])
    states = [checkpoint['optimizer']['state'] for checkpoint in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[0].items():
        close(state, states[1][number])
    assert (ours['meta']['epoch'], ours['meta']['iter']) == (theirs['meta']['epoch'], theirs['meta']['iter'])


def test_weights_that_layers_share_are_stored_once(trained):
    _, folder = trained
    sizes = [(folder / name / 'iter_3.pth').stat().st_size for name in ('sharded', 'replicated')]
    assert sizes[0] < 1.05 * sizes[1]


def test_one_process_goes_on_from_it(trained, tmp_path: Path):
    config, folder = trained
    config = config.copy()
    config.train_cfg.max_epochs = 2
    (tmp_path / 'iter_3.pth').write_bytes((folder / 'sharded/iter_3.pth').read_bytes())
    train_alone(config, tmp_path)
    assert read_checkpoint(tmp_path / 'iter_9.pth')['meta']['epoch'] == 2


def test_sharded_training_goes_on_from_a_replicated_one(trained):
    """Its step 3 is that of the sharded run from the start."""
    _, folder = trained
    resumed, undisturbed = (read_checkpoint(folder / name / 'iter_3.pth') for name in ('on', 'sharded'))
    close(resumed['state_dict'], undisturbed['state_dict'])
    assert (folder / 'on/iter_6.pth').is_file()


def test_weights_shared_across_a_block_are_refused():
    block, outside = nn.Linear(2, 2), nn.Linear(2, 2)
    outside.weight = block.weight
    with pytest.raises(ConfigError, match=r'strategy\.blocks: 1 shares weights'):
        check_shared(nn.Sequential(block, outside), [block])
    check_shared(nn.Sequential(block, nn.Linear(2, 2)), [block])
