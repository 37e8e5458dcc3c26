"""A detector is optimised before it is tested."""

from __future__ import annotations

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from mmdet_dab.hooks.unwrapped import detector_of
from mmdet_dab.optimize import optimize_for_inference
from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class OptimizeForInferenceHook(Hook):
    """Optimises the detector after its weights are loaded, before it is tested.

    Args:
        dtype: name of the precision, see :func:`mmdet_dab.optimize_for_inference`.
        compile_with: backend of ``torch.compile``, or None, see there.
    """

    def __init__(self, dtype: str = 'float32', compile_with: str | None = None) -> None:
        self.dtype = getattr(torch, dtype)
        self.compile_with = compile_with

    def before_test(self, runner: Runner) -> None:
        """Optimise, once.

        Raises:
            ValueError: an ``EMAHook`` would swap weights that are folded by then.
        """
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ValueError(
                f'{type(self).__name__} and EMAHook do not work together in a test: leave EMAHook out of the config. '
                '(Its checkpoints hold the averaged weights already; the test command leaves it out.)'
            )
        optimize_for_inference(detector_of(runner), self.dtype, self.compile_with)
