"""Hooks for the Runner."""

from mmdet_dab.hooks.anchor_drift_hook import AnchorDriftHook
from mmdet_dab.hooks.anchors_from_data_hook import AnchorsFromDataHook
from mmdet_dab.hooks.channels_last_hook import ChannelsLastHook
from mmdet_dab.hooks.fine_tuning_hook import FineTuningHook
from mmdet_dab.hooks.not_finite_hook import NotFiniteError, NotFiniteHook
from mmdet_dab.hooks.optimize_for_inference_hook import OptimizeForInferenceHook
from mmdet_dab.hooks.process_watch_hook import ProcessWatchHook
from mmdet_dab.hooks.resume_hook import ResumeHook
from mmdet_dab.hooks.safe_checkpoint_hook import SafeCheckpointHook
from mmdet_dab.hooks.training_watch_hook import TrainingWatchHook

#: The earlier name, which older configs and scripts have.
TrainingWatch = TrainingWatchHook

__all__ = [
    'AnchorDriftHook',
    'AnchorsFromDataHook',
    'ChannelsLastHook',
    'FineTuningHook',
    'NotFiniteError',
    'NotFiniteHook',
    'OptimizeForInferenceHook',
    'ProcessWatchHook',
    'ResumeHook',
    'SafeCheckpointHook',
    'TrainingWatch',
    'TrainingWatchHook',
]
