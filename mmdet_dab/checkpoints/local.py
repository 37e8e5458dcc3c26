"""How mmengine reads a checkpoint file, wherever one is asked for: as data.

Importing this module puts :func:`load_local` in the place of mmengine's own function, so that
``load_from``, ``init_cfg=dict(type='Pretrained', …)`` and mmdet's ``init_detector`` read what
:func:`mmdet_dab.checkpoints.read_checkpoint` reads, and no more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmdet_dab.checkpoints.loading import read_checkpoint, read_safetensors
from mmdet_dab.checkpoints.names import check_names
from mmdet_dab.checkpoints.unwrap import stored_weights
from mmdet_dab.engine.values import value_problem
from mmdet_dab.errors import CheckpointError, listed, shown


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_local(filename: str, map_location: Any = None) -> Any:
    """The content of a file of ``torch.save``, or the tensors of a ``.safetensors``.

    Args:
        filename: the file; ``~`` is one's own folder.
        map_location: device of the tensors, as for ``torch.load``.

    Raises:
        CheckpointError: see :func:`mmdet_dab.checkpoints.read_checkpoint`; or there are no weights,
            or some that are not finite numbers.
    """
    path = Path(os.path.expanduser(filename))
    if path.suffix == '.safetensors':
        weights = read_safetensors(path)
        _check_weights(path, weights)
        return dict(state_dict=weights)
    content = read_checkpoint(path, map_location=map_location or 'cpu')
    if isinstance(content, dict) and content.get('meta', content) is None:
        del content['meta']  # mmdet looks for names in one that is there
    if not isinstance(content, Mapping) or not all(type(key) is str for key in content):
        raise CheckpointError(f'checkpoint {path} holds {shown(content)}, not tensors by name')
    check_names(path, content)
    found = stored_weights({key: content[key] for key in content if key != 'meta'})
    if found is None:
        raise CheckpointError(f'checkpoint {path}: it holds no tensors by name (its keys: {listed(content) or "none"})')
    _check_weights(path, found[0])
    return content


def _check_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse what no model computes with, whichever it is."""
    for name, tensor in weights.items():
        if problem := value_problem(tensor):
            raise CheckpointError(f'checkpoint {path}: {name} {problem}. It is damaged: take another one')
    if not any(tensor.is_floating_point() for tensor in weights.values()):
        raise CheckpointError(f'checkpoint {path}: none of its tensors holds floating-point numbers. Take another one')
