"""Weights in foreign layouts, and safe loading."""

from mmdet_dab.checkpoints.authors import convert
from mmdet_dab.checkpoints.loading import CheckpointError, read_checkpoint

__all__ = ['CheckpointError', 'convert', 'read_checkpoint']
