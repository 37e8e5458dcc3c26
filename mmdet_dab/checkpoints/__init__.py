"""Weights in foreign layouts, and safe loading."""

from mmdet_dab.checkpoints.authors import convert
from mmdet_dab.checkpoints.authors_deformable import convert_deformable
from mmdet_dab.checkpoints.fitting import check_fits, config_name
from mmdet_dab.checkpoints.known import LAYOUTS, recognise
from mmdet_dab.checkpoints.layout import Conversion, Layout
from mmdet_dab.checkpoints.loading import read_checkpoint, read_weights
from mmdet_dab.errors import CheckpointError

__all__ = [
    'LAYOUTS',
    'CheckpointError',
    'Conversion',
    'Layout',
    'check_fits',
    'config_name',
    'convert',
    'convert_deformable',
    'read_checkpoint',
    'read_weights',
    'recognise',
]
