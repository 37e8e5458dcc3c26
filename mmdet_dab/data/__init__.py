"""From a folder of images and boxes to a config: reading, checking, measuring, writing.

``mmdet-dab new-data`` runs all of it (:func:`mmdet_dab.data.new_dataset.make`); ``mmdet-dab train``
and ``test`` run the cheap checks on what a config names
(:func:`mmdet_dab.data.checks.config.check_config`).
"""

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.errors import DataError

__all__ = ['Annotations', 'DataError']
