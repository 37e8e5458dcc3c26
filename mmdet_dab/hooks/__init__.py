"""Hooks for the Runner."""

from mmdet_dab.hooks.channels_last import ChannelsLastHook
from mmdet_dab.hooks.fine_tuning import FineTuningHook
from mmdet_dab.hooks.inference import OptimizeForInferenceHook
from mmdet_dab.hooks.not_finite import NotFiniteError, NotFiniteHook
from mmdet_dab.hooks.resume_hook import ResumeHook
from mmdet_dab.hooks.safe_checkpoint_hook import SafeCheckpointHook
from mmdet_dab.hooks.training_watch import TrainingWatch

__all__ = [
    'ChannelsLastHook',
    'FineTuningHook',
    'NotFiniteError',
    'NotFiniteHook',
    'OptimizeForInferenceHook',
    'ResumeHook',
    'SafeCheckpointHook',
    'TrainingWatch',
]
