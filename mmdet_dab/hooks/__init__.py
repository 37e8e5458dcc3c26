"""Hooks for the Runner."""

from mmdet_dab.hooks.anchors_from_data_hook import AnchorsFromDataHook
from mmdet_dab.hooks.channels_last import ChannelsLastHook
from mmdet_dab.hooks.fine_tuning import FineTuningHook
from mmdet_dab.hooks.inference import OptimizeForInferenceHook
from mmdet_dab.hooks.not_finite import NotFiniteError, NotFiniteHook
from mmdet_dab.hooks.training_watch import TrainingWatch

__all__ = [
    'AnchorsFromDataHook',
    'ChannelsLastHook',
    'FineTuningHook',
    'NotFiniteError',
    'NotFiniteHook',
    'OptimizeForInferenceHook',
    'TrainingWatch',
]
