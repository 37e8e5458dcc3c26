"""Hooks for the Runner."""

from mmdet_dab.hooks.fine_tuning import FineTuningHook

__all__ = ['FineTuningHook']
