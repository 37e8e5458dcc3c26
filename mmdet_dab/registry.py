"""The registries of mmdet_dab: children of MMEngine's, scope ``mmdet_dab``.

Every part answers to its bare name, ``type='AnchorUpdate'``, and to
``type='mmdet_dab.AnchorUpdate'``. Configs keep ``default_scope = 'mmdet'``, so a bare name is
looked up among mmdet's parts: :func:`offer_to_mmdet` registers ours there too. Where mmdet has the
name already (:func:`names_of_both`), the bare name stays mmdet's and the prefix means ours. The
other way round, a name that our registries lack is looked up among mmdet's, so that a config whose
scope is ``mmdet_dab`` finds ``type='ResNet'``.
"""

from __future__ import annotations

from typing import Any

import mmdet.registry
import mmengine.registry
from mmengine.registry import Registry

SCOPE = 'mmdet_dab'


class PartRegistry(Registry):
    """A registry of ours, which knows mmdet's of the same kind.

    Args:
        kind: the name of MMEngine's and mmdet's registry, such as ``'MODELS'``.
        locations: the modules whose import fills this registry.
    """

    def __init__(self, kind: str, *locations: str) -> None:
        root = getattr(mmengine.registry, kind)
        super().__init__(root.name, parent=root, scope=SCOPE, locations=list(locations))
        self.mmdets: Registry = getattr(mmdet.registry, kind)
        self._offers = False

    def offer(self) -> None:
        """Let mmdet's registry find these parts by their bare names, and from now on every new one,
        such as a user's; names that mmdet uses stay its own.
        """
        self._offers = True
        self.mmdets.import_from_location()  # a name that comes later would meet ours in its place
        for name, part in self.module_dict.items():
            if name not in self.mmdets.module_dict:
                self.mmdets.register_module(name=name, module=part)

    def _register_module(self, *args: Any, **kwargs: Any) -> None:
        super()._register_module(*args, **kwargs)
        if self._offers:
            self.offer()

    def get(self, key: str) -> type | None:
        """The part of that name: ours, MMEngine's, or mmdet's."""
        self.import_from_location()
        own = key.removeprefix(f'{SCOPE}.')
        ours = own in self.module_dict or key.startswith(f'{SCOPE}.')
        if not ours and self.split_scope_key(key)[0] is None:
            self.mmdets.import_from_location()
            if key in self.mmdets.module_dict:
                return self.mmdets.module_dict[key]
        return super().get(key)


#: Detectors and all their parts.
MODELS = PartRegistry('MODELS', 'mmdet_dab.models', 'mmdet_dab.interop')
#: Costs, initial anchors and the like: what is no layer.
TASK_UTILS = PartRegistry('TASK_UTILS', 'mmdet_dab.models', 'mmdet_dab.interop')
#: What an ``init_cfg`` can name.
WEIGHT_INITIALIZERS = PartRegistry('WEIGHT_INITIALIZERS', 'mmdet_dab.models')
DATASETS = PartRegistry('DATASETS', 'mmdet_dab.datasets')
HOOKS = PartRegistry('HOOKS', 'mmdet_dab.hooks')
LOOPS = PartRegistry('LOOPS', 'mmdet_dab.engine')
DATA_SAMPLERS = PartRegistry('DATA_SAMPLERS', 'mmdet_dab.engine')
VISBACKENDS = PartRegistry('VISBACKENDS', 'mmdet_dab.engine')

REGISTRIES = (
    MODELS,
    TASK_UTILS,
    WEIGHT_INITIALIZERS,
    DATASETS,
    HOOKS,
    LOOPS,
    DATA_SAMPLERS,
    VISBACKENDS,
)


def offer_to_mmdet() -> None:
    """Let mmdet's registries find our parts by their bare names."""
    for ours in REGISTRIES:
        ours.offer()


def names_of_both() -> list[str]:
    """Names of ours that mean another part without the prefix, because mmdet has them as well."""
    return sorted(
        name
        for ours in REGISTRIES
        for name, part in ours.module_dict.items()
        if ours.mmdets.module_dict.get(name, part) is not part
    )
