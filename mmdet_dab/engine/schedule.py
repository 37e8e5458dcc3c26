"""Learning-rate schedules of a training run that goes on with another config."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner

#: What a scheduler counts or remembers; the rest of its state is its config.
MOVING = {
    'optimizer',
    'last_step',
    'base_values',
    'verbose',
    '_global_step',
    '_last_value',
    # of ReduceOnPlateau
    'best',
    'cooldown_counter',
    'mode_worse',
    'num_bad_epochs',
}


def schedulers_of(runner: Runner) -> list[_ParamScheduler]:
    """All schedulers of a Runner that has built them."""
    found = runner.param_schedulers or []
    groups = found.values() if isinstance(found, dict) else [found]
    return [scheduler for group in groups for scheduler in group]


class Schedule:
    """The schedules as the config has them, before a checkpoint puts its own in their place.

    Args:
        runner: with schedulers that have not made a step.
    """

    def __init__(self, runner: Runner) -> None:
        self.schedulers = schedulers_of(runner)
        self._states = [copy.deepcopy(scheduler.state_dict()) for scheduler in self.schedulers]
        self._groups = [
            [
                {key: value for key, value in group.items() if key != 'params'}
                for group in scheduler.optimizer.param_groups
            ]
            for scheduler in self.schedulers
        ]

    def changed(self) -> list[str]:
        """What the schedulers of the checkpoint have otherwise than the config, in words."""
        return [
            f'{type(scheduler).__name__}.{key} is {vars(scheduler).get(key)!r}, in the config {value!r}'
            for scheduler, state in zip(self.schedulers, self._states, strict=True)
            for key, value in state.items()
            if key not in MOVING and vars(scheduler).get(key) != value
        ]

    def refit(self, iterations: int, epochs: int, length: int) -> None:
        """Put the rates where the config has them after so many steps.

        Args:
            iterations: steps that were made.
            epochs: that were ended.
            length: steps in an epoch.
        """
        for scheduler, state, groups in zip(self.schedulers, self._states, self._groups, strict=True):
            scheduler.load_state_dict(copy.deepcopy(state))
            for group, values in zip(scheduler.optimizer.param_groups, groups, strict=True):
                name = scheduler.param_name
                group.update({key: values[key] for key in (name, f'initial_{name}') if key in values})
        by_iteration = [scheduler for scheduler in self.schedulers if not scheduler.by_epoch]
        by_epoch = [scheduler for scheduler in self.schedulers if scheduler.by_epoch]
        ended = 0
        for step in range(1, iterations + 1):
            _step(by_iteration)
            if step % max(length, 1) == 0 and ended < epochs:
                _step(by_epoch)
                ended += 1
        for _ in range(epochs - ended):
            _step(by_epoch)


def _step(schedulers: Sequence[Any]) -> None:
    for scheduler in schedulers:
        if not getattr(scheduler, 'need_val_args', False):  # it follows the results, which are gone
            scheduler.step()
