"""Importing this module registers every part of mmdet_dab.

mmdet's registries import it when they are first asked for a part, see
:mod:`mmdet_dab.arrangements`.
"""

from mmdet_dab import checkpoints, datasets, engine, hooks, interop, models
from mmdet_dab.registry import offer_to_mmdet

offer_to_mmdet()

__all__ = ['checkpoints', 'datasets', 'engine', 'hooks', 'interop', 'models']
