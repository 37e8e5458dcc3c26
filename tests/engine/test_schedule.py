"""The learning rate of a training run that goes on with another schedule."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, OptimWrapper

from mmdet_dab.engine.schedule import Schedule

#: Steps in an epoch.
LENGTH = 4


def runner_of(epochs):
    """What a schedule sees of a Runner: warm-up by step, two decays by epoch, two groups."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    wrapper = OptimWrapper(torch.optim.AdamW([{'params': [weights[0]], 'lr': 1e-3}, {'params': [weights[1]]}], lr=1e-4))
    schedulers = [
        LinearLR(wrapper, start_factor=0.1, by_epoch=False, begin=0, end=6),
        CosineAnnealingLR(wrapper, T_max=epochs, by_epoch=True),
        MultiStepLR(wrapper, milestones=[epochs - 1], by_epoch=True),
    ]
    return SimpleNamespace(param_schedulers=schedulers, optim_wrapper=wrapper)


def train(runner, steps, done=0):
    for step in range(done + 1, done + steps + 1):
        for scheduler in runner.param_schedulers:
            if not scheduler.by_epoch or step % LENGTH == 0:
                scheduler.step()


def rates(runner):
    return [group['lr'] for group in runner.optim_wrapper.param_groups]


def saved(runner):
    states = copy.deepcopy([scheduler.state_dict() for scheduler in runner.param_schedulers])
    return states, copy.deepcopy(runner.optim_wrapper.state_dict())


def load(runner, state):
    for scheduler, own in zip(runner.param_schedulers, state[0], strict=True):
        scheduler.load_state_dict(own)
    runner.optim_wrapper.load_state_dict(state[1])


@pytest.mark.parametrize('steps', [3, 4, 11, 16])
def test_a_refitted_schedule_is_that_of_the_config_from_the_start(steps):
    short, long, fresh = runner_of(4), runner_of(8), runner_of(8)
    train(short, steps)
    train(fresh, steps)
    schedule = Schedule(long)
    load(long, saved(short))
    assert any('T_max' in text for text in schedule.changed())
    schedule.refit(steps, steps // LENGTH, LENGTH)
    assert schedule.changed() == []
    assert rates(long) == rates(fresh)
    train(long, 5, steps)
    train(fresh, 5, steps)
    assert rates(long) == rates(fresh)


def test_the_same_schedule_has_not_changed():
    runner, again = runner_of(4), runner_of(4)
    train(runner, 7)
    schedule = Schedule(again)
    load(again, saved(runner))
    assert schedule.changed() == []
    assert rates(again) == rates(runner)
