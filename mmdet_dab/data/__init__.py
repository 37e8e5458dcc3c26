"""From a folder of pictures and boxes to a config: reading, checking, measuring, writing.

``tools/new_dataset.py`` runs all of it, ``tools/train.py`` and ``tools/test.py`` the cheap checks on what a config
names.
"""

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.errors import DataError

__all__ = ['Annotations', 'DataError']
