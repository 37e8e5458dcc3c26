"""The registries of mmdet_dab: children of MMEngine's, scope ``mmdet_dab``.

Configs keep ``default_scope = 'mmdet'`` and write our types with their prefix, ``mmdet_dab.X``.
:func:`add_signposts` makes the prefix hard to forget: the bare name is an error that spells it out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

SCOPE = 'mmdet_dab'

#: Detectors and all their parts.
MODELS = Registry('model', parent=MMENGINE_MODELS, scope=SCOPE, locations=['mmdet_dab.models'])
#: Matchers, matching costs, initial anchors: what has no forward pass of its own.
TASK_UTILS = Registry('task util', parent=MMENGINE_TASK_UTILS, scope=SCOPE, locations=['mmdet_dab.models'])
#: What an ``init_cfg`` can name.
WEIGHT_INITIALIZERS = Registry(
    'weight initializer', parent=MMENGINE_WEIGHT_INITIALIZERS, scope=SCOPE, locations=['mmdet_dab.models']
)
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope=SCOPE, locations=['mmdet_dab.datasets'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope=SCOPE, locations=['mmdet_dab.hooks'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope=SCOPE, locations=['mmdet_dab.engine'])
DATA_SAMPLERS = Registry('data sampler', parent=MMENGINE_DATA_SAMPLERS, scope=SCOPE, locations=['mmdet_dab.engine'])


def _signpost(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"type='{name}' is a part of mmdet_dab: write type='{SCOPE}.{name}'")

    refuse.__name__ = name
    return refuse


def add_signposts() -> None:
    """Register, under each of our bare names, an entry in mmdet's registry that names the right one.

    Without it ``type='AnchorDecoder'`` ends in "is not in the mmdet::model registry", which sends
    people looking for a broken installation. Names that mmdet uses itself are left alone.
    """
    from mmdet.registry import DATASETS as MMDET_DATASETS
    from mmdet.registry import HOOKS as MMDET_HOOKS
    from mmdet.registry import MODELS as MMDET_MODELS
    from mmdet.registry import TASK_UTILS as MMDET_TASK_UTILS
    from mmdet.registry import WEIGHT_INITIALIZERS as MMDET_WEIGHT_INITIALIZERS

    pairs = (
        (MODELS, MMDET_MODELS),
        (TASK_UTILS, MMDET_TASK_UTILS),
        (DATASETS, MMDET_DATASETS),
        (HOOKS, MMDET_HOOKS),
        (WEIGHT_INITIALIZERS, MMDET_WEIGHT_INITIALIZERS),
    )
    for ours, mmdets in pairs:
        for name in ours.module_dict:
            if name not in mmdets.module_dict:
                mmdets.register_module(name=name, module=_signpost(name))
