"""What is not finite stops the training before the weights change, and the message says how to go on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, init_default_scope

from mmdet_dab import cli
from mmdet_dab.checkpoints import read_checkpoint
from mmdet_dab.errors import CheckpointError
from mmdet_dab.hooks import NotFiniteError
from mmdet_dab.registry import MODELS
from tests.helpers.processes import run_in_two_processes
from tests.helpers.training import build, config_of, pipeline_with, warnings_during

pytestmark = pytest.mark.usefixtures('quiet_runner')
IMAGES = 'drawn/images'


def spoiling(file: str, **how) -> dict:
    return pipeline_with(last=[dict(type='Spoil', file=file, **how)])


def stopped(config) -> tuple[str, object]:
    """The message of a training that must stop, and its runner."""
    runner = build(config)
    with pytest.raises(NotFiniteError) as caught:
        runner.train()
    return str(caught.value), runner


def all_finite(state) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_a_spoilt_image_stops_the_training_which_goes_on_from_the_last_checkpoint(tmp_path):
    """Image 3 is in the second of three batches and spoilt in the third epoch: step 8, after a checkpoint at 4."""
    config = config_of(tmp_path, train_dataloader=spoiling('3.png', after=2))
    said, runner = stopped(config)
    last = tmp_path / 'work/iter_4.pth'
    folder = tmp_path / IMAGES
    assert said.startswith('training stopped at iteration 8: logits and boxes of decoder layer 0 are not finite in ')
    assert f'pixels of {folder / "3.png"} are not finite' in said
    assert f'{folder / "2.png"}, {folder / "3.png"}' in said
    assert f'--resume {last}' in said
    assert said.endswith('docs/own_data.md#not-finite')
    assert all_finite(dict(runner.model.named_parameters()))
    assert sorted(path.name for path in (tmp_path / 'work').glob('*.pth')) == ['iter_4.pth']
    assert all_finite(read_checkpoint(last)['state_dict'])
    fixed = config_of(tmp_path / 'fixed', work_dir=str(tmp_path / 'work'), resume=True, load_from=str(last))
    runner = build(fixed)
    runner.train()
    assert runner.iter > 8
    assert all_finite(read_checkpoint(tmp_path / 'work/iter_12.pth')['state_dict'])


def test_weights_that_explode_are_no_good_checkpoint(tmp_path):
    """A huge rate in step 3: finite gradients, and weights that are finite still, but give no finite loss in step 4."""
    schedule = [dict(type='MultiStepLR', milestones=[2], gamma=1e28, by_epoch=False)]
    hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
    said, _ = stopped(config_of(tmp_path, param_scheduler=schedule, default_hooks=hooks))
    assert all_finite(read_checkpoint(tmp_path / 'work/iter_3.pth')['state_dict'])
    assert said.startswith('training stopped at iteration 4: ')
    assert re.search(r'has diverged: .*optim_wrapper\.optimizer\.lr .*1e\+25', said)
    assert f'go on from it with --resume {tmp_path}/work/iter_2.pth' in said


def test_weights_that_are_not_finite_are_refused_before_the_first_step(tmp_path):
    config = config_of(tmp_path, load_from=str(tmp_path / 'nan.pth'))
    state = MODELS.build(config.model).state_dict()
    state['decoder.norm.weight'][0] = float('nan')
    torch.save({'state_dict': state, 'meta': {}}, config.load_from)
    with pytest.raises(CheckpointError, match=r'nan\.pth: .*decoder\.norm\.weight'):
        build(config).train()


def test_ground_truth_that_is_not_finite(tmp_path):
    said, _ = stopped(config_of(tmp_path, train_dataloader=spoiling('5.png', what='boxes')))
    assert said.startswith('training stopped at iteration 3: ground-truth boxes of ')
    assert f'{tmp_path}/{IMAGES}/5.png are not finite' in said
    assert 'default_hooks.checkpoint.interval' in said


@pytest.mark.parametrize(
    ('name', 'words'),
    [('loss_bbox', 'loss_bbox is not finite'), ('d1.loss_iou', r'loss_iou of decoder layer 1 \(d1.loss_iou\) is not')],
)
def test_the_term_and_its_layer_are_named(tmp_path, name, words):
    runner = build(config_of(tmp_path))
    runner.model.register_forward_hook(
        lambda part, inputs, losses: losses | {name: losses[name] / 0}, with_kwargs=False, prepend=True
    )
    with pytest.raises(NotFiniteError, match=f'iteration 1: {words}.*diverged: lower optim_wrapper.optimizer.lr'):
        runner.train()


@pytest.mark.parametrize('clip', [dict(max_norm=0.1), None])
def test_a_gradient_that_is_not_finite_reaches_no_weight(tmp_path, clip):
    config = config_of(tmp_path)
    config.optim_wrapper.clip_grad = clip
    runner = build(config)
    bias = runner.model.bbox_head.class_branch.bias
    bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(
        NotFiniteError, match=r'the gradient of bbox_head\.class_branch\.bias.* is not finite though'
    ) as caught:
        runner.train()
    assert all_finite(dict(runner.model.named_parameters()))
    assert ('clip gradients (optim_wrapper.clip_grad' in str(caught.value)) == (clip is None)


@OPTIM_WRAPPERS.register_module()
class WithScaler(OptimWrapper):
    """Stands for mixed precision, whose scaler skips the steps with infinite gradients by itself."""

    class loss_scaler:  # noqa: N801
        @staticmethod
        def is_enabled() -> bool:
            return True

    def step(self, **kwargs) -> None:
        self._clip_grad()
        self.zero_grad()
        super().step(**kwargs)


def test_a_loss_scaler_is_left_to_its_infinite_gradients(tmp_path):
    runner = build(config_of(tmp_path, optim_wrapper=dict(type='WithScaler'), train_cfg=dict(max_epochs=1)))
    runner.model.bbox_head.class_branch.bias.register_hook(lambda gradient: gradient / 0)
    runner.train()
    assert runner.iter == 3


def test_a_warning_instead(tmp_path):
    hooks = dict(not_finite=dict(stop=False), training_watch=dict(steps=0))
    config = config_of(tmp_path, train_cfg=dict(max_epochs=1), default_hooks=hooks)
    runner = build(config)
    runner.model.register_forward_hook(
        lambda part, inputs, losses: losses | {'loss_odd': losses['loss_iou'].detach() / 0}, prepend=True
    )
    (said,) = warnings_during(runner)
    assert said.startswith('ATTENTION: iteration 1: loss_odd is not finite')
    assert runner.iter == 3


def test_a_command_ends_with_one_message(capsys):
    def main():
        raise NotFiniteError('training stopped at iteration 1: …')

    assert cli.run(main) == 1
    assert capsys.readouterr().err == 'error: training stopped at iteration 1: …\n'


def test_what_one_of_two_processes_sees_stops_both(tmp_path):
    """Each process takes every other image: 0, 2, 4 and 1, 3, 5. Image 3 belongs to the second process."""
    config = config_of(tmp_path, train_dataloader=dict(batch_size=1) | spoiling('3.png'))
    run_in_two_processes(process, config.to_dict(), tmp_path)
    said = [(tmp_path / f'said_{rank}').read_text() for rank in range(2)]
    assert said[0] == said[1]
    assert said[0].startswith('training stopped at iteration 2: process 1: logits and boxes of decoder layer 0 are not')
    assert f'pixels of {tmp_path}/{IMAGES}/3.png are not finite' in said[0]


def process(rank: int, port: int, config: dict, folder: Path) -> None:
    """One of two: train until it stops, and save the message."""
    Config.pretty_text = 'the config'
    init_default_scope('mmdet')
    runner = build(Config(config), 'pytorch')
    with pytest.raises(NotFiniteError) as caught:
        runner.train()
    (folder / f'said_{rank}').write_text(str(caught.value))
    torch.distributed.destroy_process_group()
