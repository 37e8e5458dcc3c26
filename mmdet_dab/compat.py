"""Where today's PyTorch and the OpenMMLab releases disagree, and nothing else.

Three meeting points, all additive: nothing that is installed is replaced.

1. ``mmcv-lite`` has no compiled ``mmcv._ext``, but ``mmdet`` imports ``mmcv.ops``, which wants it.
   :func:`install_ext_stand_in` puts a module in its place whose functions say what to install
   when (and only when) they are called.
2. Since torch 2.6 ``torch.load`` reads weights only, and mmengine 0.10.7 cannot read its own
   checkpoints any more. :func:`allow_mmengine_checkpoints` names the harmless types in them.
3. Version bounds; :func:`check_versions` refuses what lies outside in a sentence.

What only a program may decide, such as the environment of its process, is in ``mmdet_dab.cli``.
"""

from __future__ import annotations

import codecs
import functools
import importlib
import importlib.machinery
import importlib.util
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

#: import name -> (lowest, first not allowed, what to type when it is missing). Tried as a whole: torch 2.13.0,
#: mmengine 0.10.7, mmcv-lite 2.1.0, mmdet 3.3.0. torch 2.4 is the first with an allow-list for torch.load; the upper
#: bounds leave room for the maintained forks of the OpenMMLab packages.
BOUNDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        'torch': ('2.4.0', '3.0', 'pip install torch'),
        'mmengine': ('0.10.7', '1.0', 'pip install mmengine==0.10.7'),
        'mmcv': ('2.1.0', '2.4.0', 'pip install mmcv-lite==2.1.0'),
        'mmdet': ('3.3.0', '4.0', 'pip install mmdet==3.3.0'),
    }
)


def _numbers(version: str) -> tuple[int, ...]:
    """``'2.13.0+cpu'`` -> ``(2, 13, 0)``, ``'2.1rc1'`` -> ``(2, 1, 0)``: a pre-release counts as its release."""
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
            raise ImportError(f'mmdet_dab needs {name}, which is not installed: {command}')
        try:
            module = importlib.import_module(name)
        except AssertionError as error:  # how mmdet refuses the versions of mmcv and mmengine around it
            raise ImportError(f'{name} does not accept the packages around it ({error}): {command}') from error
        found = getattr(module, '__version__', None) or metadata.version(name)
        if not _numbers(lowest) <= _numbers(found) < _numbers(beyond):
            raise ImportError(
                f'mmdet_dab works with {name} >= {lowest}, < {beyond}, but {found} is installed: {command}'
            )


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


def install_ext_stand_in() -> bool:
    """Make ``mmcv.ops`` importable where ``mmcv._ext`` was not compiled.

    Returns:
        Whether the stand-in is in use; False where the compiled module is there.
    """
    present = sys.modules.get('mmcv._ext')
    if present is not None:
        return isinstance(present, _MissingExtension)
    if importlib.util.find_spec('mmcv._ext') is not None:
        return False
    stand_in = _MissingExtension('mmcv._ext', 'Stand-in of mmdet_dab.compat for the compiled mmcv._ext.')
    stand_in.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', loader=None)
    sys.modules['mmcv._ext'] = stand_in
    return True


def has_compiled_operations() -> bool:
    """Whether mmcv's compiled operations are installed; False where the stand-in answers for them."""
    return not install_ext_stand_in()


def _named(function: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """``function`` under another name, the way torch's unpickler looks its allowed functions up.

    ``add_safe_globals`` takes a (function, name) pair only since torch 2.6; this works before as well.
    """

    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


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

    The ``message_hub`` of a checkpoint holds the logged values: ``HistoryBuffer`` objects, each with two
    numpy arrays (float64 values, int64 counts) and a table of four of its own methods, which pickle
    writes as ``getattr`` calls; and the remaining time as a numpy scalar. Files written with numpy 1,
    as the zoos' are, spell numpy's functions ``numpy.core``.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    multiarray = importlib.import_module('numpy._core.multiarray' if hasattr(np, '_core') else 'numpy.core.multiarray')
    numpy_functions = [
        _named(function, module, function.__name__)
        for function in (multiarray._reconstruct, multiarray.scalar)
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]
    dtypes = [type(np.dtype(kind)) for kind in ('float64', 'int64')]
    statistic = _named(_history_statistic, 'builtins', 'getattr')
    # codecs.encode turns text into the bytes of an array; torch 2.4 is the last that has to be told.
    return (HistoryBuffer, np.ndarray, np.dtype, *dtypes, *numpy_functions, statistic, codecs.encode)


def before_load_state_dict(model: nn.Module, hook: Callable[..., None]) -> None:
    """Call ``hook(model, state_dict, …)`` before ``model`` loads weights; torch 2.5 has made this public."""
    if hasattr(model, 'register_load_state_dict_pre_hook'):
        model.register_load_state_dict_pre_hook(hook)
    else:
        model._register_load_state_dict_pre_hook(hook, with_module=True)


def allow_mmengine_checkpoints() -> None:
    """Let weights-only ``torch.load`` read what mmengine's own CheckpointHook writes, and no more."""
    import torch

    torch.serialization.add_safe_globals(list(mmengine_checkpoint_types()))
