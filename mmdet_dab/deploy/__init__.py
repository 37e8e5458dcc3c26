"""A trained detector out of Python's training stack: export to a file, and a small runtime for it.

The runtime (``Predictor``) needs numpy, a runtime for the file and a reader of images; neither
torch nor mmdet. ``export`` needs all of them.
"""

from mmdet_dab.deploy.detections import Detections
from mmdet_dab.deploy.predictor import Predictor

__all__ = ['Detections', 'Predictor']
