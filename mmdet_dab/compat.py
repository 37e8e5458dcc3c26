"""Where today's PyTorch and the OpenMMLab releases disagree, and nothing else.

Three meeting points, all additive: nothing that is installed is replaced.

1. ``mmcv-lite`` has no compiled ``mmcv._ext``, but ``mmdet`` imports ``mmcv.ops``, which wants it.
   :func:`install_ext_stand_in` offers a module in its place whose functions say what to install
   when (and only when) they are called.
2. Since torch 2.6 ``torch.load`` reads weights only, and mmengine 0.10.7 cannot read its own
   checkpoints any more. :func:`allow_mmengine_checkpoints` names the harmless types in them.
3. Version bounds: :func:`check_versions` refuses a stack outside of them with one message, and
   :func:`import_stack` does so for every way in which an installation can be broken.

What only a program may decide, such as the environment of its process, is in ``mmdet_dab.cli``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pickle
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from mmdet_dab.errors import InstallError

if TYPE_CHECKING:
    from torch import nn

#: import name -> (lowest, first not allowed, what to type when it is missing). Tried as a whole:
#: torch 2.13.0, mmengine 0.10.7, mmcv-lite 2.1.0, mmdet 3.3.0. Before torch 2.10, a crafted file
#: could run code even when weights alone are read (CVE-2025-32434, CVE-2026-24747). The upper
#: bounds leave room for the maintained forks of the OpenMMLab packages.
BOUNDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        'torch': ('2.10.0', '3.0', 'pip install torch'),
        'mmengine': ('0.10.7', '1.0', 'pip install mmengine==0.10.7'),
        'mmcv': ('2.1.0', '2.4.0', 'pip install mmcv-lite==2.1.0'),
        'mmdet': ('3.3.0', '4.0', 'pip install mmdet==3.3.0'),
    }
)

#: What to type when an import says one of these: part of the error's text -> command.
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        'pkg_resources': "pip install 'setuptools<81'",
        'libGL': 'pip install --force-reinstall --no-deps opencv-python-headless',
        'numpy': "pip install --force-reinstall 'numpy>=2'",
        'cv2': 'pip install --force-reinstall opencv-python-headless',
    }
)


def _numbers(version: str) -> tuple[int, ...]:
    """``'2.13.0+cpu'`` -> ``(2, 13, 0)``; a pre-release counts as its release."""
    release = re.match(r'\d+(\.\d+)*', version)
    numbers = [int(part) for part in release.group().split('.')] if release else []
    return tuple([*numbers, 0, 0, 0][:3])


def check_versions(bounds: Mapping[str, tuple[str, str, str]] = BOUNDS) -> None:
    """Refuse a stack outside the bounds.

    Raises:
        ImportError: names the package, the version found, the bounds and the command.
    """
    for name, (lowest, beyond, command) in bounds.items():
        if importlib.util.find_spec(name) is None:
            raise ImportError(f'mmdet_dab needs {name}, which is not installed: {command}', name=name)
        try:
            module = importlib.import_module(name)
        # How mmdet refuses the versions of mmcv and mmengine around it
        except AssertionError as error:
            raise ImportError(f'{name} does not accept the packages around it ({error}): {command}') from error
        found = getattr(module, '__version__', None) or metadata.version(name)
        if not _numbers(lowest) <= _numbers(found) < _numbers(beyond):
            raise ImportError(
                f'mmdet_dab works with {name} >= {lowest}, < {beyond}, but {found} is installed: {command}'
            )


def import_stack() -> None:
    """Import torch, mmengine, mmcv and mmdet, and register all parts; this takes seconds.

    Raises:
        InstallError: one of the packages is missing, or does not fit the others.
    """
    try:
        check_versions()
        importlib.import_module('mmdet_dab.parts')
    # AttributeError: a package that was compiled for another numpy
    except (ImportError, AttributeError) as error:
        raise install_error(error) from error


def install_error(error: Exception) -> InstallError:
    """The message for an import that failed, with the command that repairs it if known."""
    text = str(error)
    environment = Path(__file__).resolve().parents[1] / '.venv'
    # A checkout after `make`
    if environment.is_dir() and environment != Path(sys.prefix).resolve():
        activate = environment / 'bin' / 'activate'
        return InstallError(f'{text}. {sys.executable} is not the Python of this checkout: source {activate}')
    if 'pip install' in text:
        return InstallError(text)
    name = getattr(error, 'name', None) or ''
    command = next((command for sign, command in REMEDIES.items() if sign in text or sign == name.split('.')[0]), None)
    if command is None:
        command = f'pip install {name.split(".")[0]}' if isinstance(error, ModuleNotFoundError) else 'reinstall it'
    return InstallError(f'this installation is broken ({type(error).__name__}: {text}). How to fix it: {command}')


class _MissingExtension(ModuleType):
    """Answers for every compiled operation of mmcv; each one explains itself when called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing_operation(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(
                f"mmcv's compiled operation '{name}' was called, but only mmcv-lite is installed. "
                'Install the compiled mmcv (https://mmcv.readthedocs.io: `pip uninstall mmcv-lite`, then '
                '`pip install mmcv==2.1.0`), or use a part of mmdet_dab that does without it.'
            )

        missing_operation.__name__ = name
        return missing_operation


class _StandInFinder(MetaPathFinder, Loader):
    """Finds ``mmcv._ext`` where nobody else does: it stands last in ``sys.meta_path``."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == 'mmcv._ext' else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _MissingExtension(spec.name, 'Stand-in of mmdet_dab.compat for the compiled mmcv._ext.')

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module answers by itself."""


def install_ext_stand_in() -> None:
    """Make ``mmcv.ops`` importable where ``mmcv._ext`` was not compiled.

    A compiled one comes first.
    """
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StandInFinder())


def has_compiled_operations() -> bool:
    """Whether mmcv's compiled operations are installed.

    False where the stand-in answers for them.
    """
    return not isinstance(importlib.import_module('mmcv._ext'), _MissingExtension)


def _history_statistic(owner: Any, name: str) -> Callable[..., Any]:
    """Stands for ``getattr`` in a checkpoint, and fetches the four methods that belong there.

    The real ``getattr`` must not be allowed: it reaches ``__globals__``, and from there everything.
    """
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('mean', 'min', 'max', 'current'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(
        f'GLOBAL builtins.getattr was asked for {name!r} of {owner!r}; '
        "only the statistics of mmengine's HistoryBuffer may be fetched."
    )


@functools.cache
def mmengine_checkpoint_types() -> tuple[Any, ...]:
    """What mmengine's checkpoints name that torch does not already allow; all of it is plain data.

    The ``message_hub`` of a checkpoint holds the logged values: ``HistoryBuffer`` objects, each
    with two numpy arrays (float64 values, int64 counts) and a table of four of its own methods,
    which pickle writes as ``getattr`` calls; and the remaining time as a numpy scalar. Files
    written with numpy 1, as the zoos' are, spell numpy's functions ``numpy.core``.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    multiarray = importlib.import_module('numpy._core.multiarray' if hasattr(np, '_core') else 'numpy.core.multiarray')
    numpy_functions = [
        (function, f'{module}.{function.__name__}')
        for function in (multiarray._reconstruct, multiarray.scalar)
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]
    dtypes = [type(np.dtype(kind)) for kind in ('float64', 'int64')]
    return (HistoryBuffer, np.ndarray, np.dtype, *dtypes, *numpy_functions, (_history_statistic, 'builtins.getattr'))


def before_load_state_dict(model: nn.Module, hook: Callable[..., None]) -> None:
    """Call ``hook(model, state_dict, …)`` before ``model`` loads weights."""
    model.register_load_state_dict_pre_hook(hook)


def allow_mmengine_checkpoints() -> None:
    """Let weights-only ``torch.load`` read what mmengine's CheckpointHook writes, no more."""
    import torch

    torch.serialization.add_safe_globals(list(mmengine_checkpoint_types()))
