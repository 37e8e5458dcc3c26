"""Weights of a checkpoint are matched to the model before the Runner loads them."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from mmdet_dab.checkpoints.match import match_weights
from mmdet_dab.engine.trust import named
from mmdet_dab.hooks.unwrapped import detector_of
from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class FineTuningHook(Hook):
    """Lets ``load_from`` take a checkpoint that was trained on other classes, or is wrapped.

    Classes with the name of a class in the checkpoint keep their weights; the others are
    initialised anew, and the log lists both. A training is warned of every other tensor that is
    missing or has another shape; a test or validation alone is refused, because its boxes would
    come from random weights.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the matched weights into ``checkpoint``.

        Raises:
            CheckpointError: see :func:`mmdet_dab.checkpoints.match.match_weights`.
        """
        classes = (getattr(runner.visualizer, 'dataset_meta', None) or {}).get('classes')
        model = detector_of(runner)
        with named(runner._load_from):
            checkpoint['state_dict'] = match_weights(model, checkpoint, classes, whole=only_evaluates(runner))


def only_evaluates(runner: Runner) -> bool:
    """Whether the Runner tests or validates without training."""
    loops = runner._train_loop, runner._val_loop, runner._test_loop
    train, *evaluate = (isinstance(loop, BaseLoop) for loop in loops)
    return any(evaluate) and not train
