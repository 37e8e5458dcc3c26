"""Hooks for the Runner."""

from mmdet_dab.hooks.fine_tuning import FineTuningHook
from mmdet_dab.hooks.inference import OptimizeForInferenceHook

__all__ = ['FineTuningHook', 'OptimizeForInferenceHook']
