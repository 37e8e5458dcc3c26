"""A training run that can be stopped at any moment, and goes on as if nothing had happened."""

from mmdet_dab.engine.cpu_amp import CPUAmpOptimWrapper
from mmdet_dab.engine.files import damage, latest_checkpoint
from mmdet_dab.engine.lock import work_dir_lock
from mmdet_dab.engine.loops import ResumableEpochLoop, ResumableIterLoop
from mmdet_dab.engine.mlflow_backend import MLflowVisBackend
from mmdet_dab.engine.samplers import AspectRatioBatches, ResumableBatches

__all__ = [
    'AspectRatioBatches',
    'CPUAmpOptimWrapper',
    'MLflowVisBackend',
    'ResumableBatches',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'damage',
    'latest_checkpoint',
    'work_dir_lock',
]
