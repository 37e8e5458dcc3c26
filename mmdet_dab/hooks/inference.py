"""A tested detector made faster."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmdet_dab.inference import optimize_for_inference
from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class OptimizeForInferenceHook(Hook):
    """Optimises the detector after its weights are loaded, before it is tested.

    Args:
        dtype: name of the precision, see :func:`mmdet_dab.optimize_for_inference`.
    """

    def __init__(self, dtype: str = 'float32') -> None:
        self.dtype = getattr(torch, dtype)

    def before_test(self, runner: Runner) -> None:
        """Optimise, once."""
        optimize_for_inference(runner.model.module if is_model_wrapper(runner.model) else runner.model, self.dtype)
