"""What ``import mmdet_dab`` arranges for modules that are imported later; it imports none of them.

Python asks the finders of ``sys.meta_path`` for a module that is to be imported. Ours acts on a
few names: an action of ours runs right after the module of that name. Where the module is there
already, it runs at once.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from mmdet_dab import compat

#: The module that registers all parts.
PARTS = 'mmdet_dab.parts'


class AfterImport(MetaPathFinder):
    """Runs an action after the first import of a module.

    Args:
        actions: what to run, by the name of the module, which it is given.
    """

    def __init__(self, actions: Mapping[str, Callable[[ModuleType], None]]) -> None:
        self.actions = dict(actions)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.actions:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_act(module: ModuleType) -> None:
                execute(module)
                self.actions[name](module)

            spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec


def _after_torch(_: ModuleType) -> None:
    if importlib.util.find_spec('mmengine') is not None:
        compat.allow_mmengine_checkpoints()


def _after_mmengine_config(_: ModuleType) -> None:
    from mmdet_dab import mmengine_configs

    mmengine_configs.install()


def _after_mmengine_inferencer(_: ModuleType) -> None:
    from mmdet_dab import mmengine_configs

    mmengine_configs.install_in_inferencers()


def _after_mmdet_registry(registries: ModuleType) -> None:
    """Add our parts to what mmdet's registries import when they are first asked for one."""
    from mmengine.registry import Registry

    compat.check_versions()
    for registry in vars(registries).values():
        if isinstance(registry, Registry) and registry.scope == 'mmdet' and PARTS not in registry._locations:
            registry._locations.append(PARTS)
            registry._imported = False  # one that was asked before looks again


def arrange() -> None:
    """Install the finders, once for a process."""
    if any(isinstance(finder, AfterImport) for finder in sys.meta_path):
        return
    actions = {
        'torch': _after_torch,
        'mmengine.config': _after_mmengine_config,
        'mmengine.infer.infer': _after_mmengine_inferencer,
        'mmdet.registry': _after_mmdet_registry,
    }
    sys.meta_path.insert(0, AfterImport(actions))
    compat.install_ext_stand_in()
    for name, action in actions.items():
        if name in sys.modules:
            action(sys.modules[name])
