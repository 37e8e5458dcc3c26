"""mmdet_dab: DAB-DETR taken apart into registered parts, as a plugin of MMDetection.

Importing this package checks the stack, makes ``mmdet`` importable without a compiled mmcv, lets
torch read mmengine's checkpoints, and registers every part under the scope ``mmdet_dab``.
"""

from mmdet_dab import compat

compat.check_versions()
compat.install_ext_stand_in()
compat.allow_mmengine_checkpoints()

from mmdet_dab import checkpoints, datasets, hooks, interop, models  # noqa: E402  (after the stand-in)
from mmdet_dab.datasets import SyntheticShapes  # noqa: E402
from mmdet_dab.optimize import optimize_for_inference  # noqa: E402
from mmdet_dab.registry import offer_to_mmdet  # noqa: E402
from mmdet_dab.version import __version__  # noqa: E402

offer_to_mmdet()

__all__ = [
    'SyntheticShapes',
    '__version__',
    'checkpoints',
    'datasets',
    'hooks',
    'interop',
    'models',
    'optimize_for_inference',
]
