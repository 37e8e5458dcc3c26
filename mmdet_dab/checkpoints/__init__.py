"""Checkpoints: safe reading, foreign layouts, and weights matched to a model."""

from mmdet_dab.checkpoints.authors import convert
from mmdet_dab.checkpoints.authors_deformable import convert_deformable
from mmdet_dab.checkpoints.hub import HubWeights, resolve_weights
from mmdet_dab.checkpoints.known_layouts import LAYOUTS, recognise
from mmdet_dab.checkpoints.layout import Conversion, Layout
from mmdet_dab.checkpoints.loading import read_checkpoint, read_weights
from mmdet_dab.checkpoints.local import load_local
from mmdet_dab.checkpoints.match import check_fits, config_name, match_weights
from mmdet_dab.checkpoints.sources import load_weights, read_source
from mmdet_dab.errors import CheckpointError

__all__ = [
    'LAYOUTS',
    'CheckpointError',
    'Conversion',
    'HubWeights',
    'Layout',
    'check_fits',
    'config_name',
    'convert',
    'convert_deformable',
    'load_local',
    'load_weights',
    'match_weights',
    'read_checkpoint',
    'read_source',
    'read_weights',
    'recognise',
    'resolve_weights',
]
