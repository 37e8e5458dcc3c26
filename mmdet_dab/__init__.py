"""mmdet_dab: DAB-DETR taken apart into registered parts, as a plugin of MMDetection.

``import mmdet_dab`` imports nothing heavy: neither torch nor mmdet. It only arranges what must be
in place by the time those are imported (:mod:`mmdet_dab.arrangements`):

- mmdet can be imported without a compiled mmcv, and torch reads mmengine's checkpoints;
- a config can name ours as its base, ``_base_ = 'mmdet_dab::dab_detr_r50_50e.py'``;
- every part is registered before mmdet's registries are first asked for one.

So ``custom_imports=['mmdet_dab']`` in a config and ``import mmdet_dab`` before mmdet do all that
they must, while the console command answers ``--help`` at once, and ``mmdet_dab.deploy`` can be
imported where torch and mmdet are not installed. Names below are imported when they are used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from mmdet_dab.arrangements import arrange
from mmdet_dab.version import __version__

if TYPE_CHECKING:
    from mmdet_dab.config import build, find_config, load_config
    from mmdet_dab.datasets import SyntheticShapes
    from mmdet_dab.optimize import optimize_for_inference

__all__ = ['SyntheticShapes', '__version__', 'build', 'find_config', 'load_config', 'optimize_for_inference']

#: Where the names of this package come from.
_HOMES = {
    'SyntheticShapes': 'mmdet_dab.datasets',
    'build': 'mmdet_dab.config',
    'find_config': 'mmdet_dab.config',
    'load_config': 'mmdet_dab.config',
    'optimize_for_inference': 'mmdet_dab.optimize',
}

arrange()


def __getattr__(name: str) -> Any:
    """Import what is asked for: a name of ``_HOMES``, or a module of this package
    (``mmdet_dab.models``).
    """
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif not name.startswith('_') and importlib.util.find_spec(f'{__name__}.{name}'):
        value = importlib.import_module(f'{__name__}.{name}')
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
