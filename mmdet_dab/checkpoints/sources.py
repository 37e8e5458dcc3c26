"""Weights from anywhere into a model that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmdet_dab.checkpoints.hub import is_address, resolve_weights
from mmdet_dab.checkpoints.loading import read_weights
from mmdet_dab.checkpoints.match import match_weights
from mmdet_dab.errors import CheckpointError


def read_source(source: str | Path) -> dict[str, Any]:
    """Read a checkpoint as mmengine saves one, with the keys ``state_dict`` and ``meta``.

    Args:
        source: a file, an address on the hub (``hf://...``), or a URL that mmengine knows.

    Raises:
        CheckpointError: it cannot be read or found; the message begins with the source.
    """
    if is_address(source):
        return resolve_weights(str(source)).checkpoint
    if '://' in str(source):
        return dict(CheckpointLoader.load_checkpoint(str(source), map_location='cpu'))
    weights, meta = read_weights(source)
    return dict(state_dict=weights, meta=meta)


def load_weights(model: nn.Module, source: str | Path, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Load all weights of a model, for prediction; a model that would keep random weights is
    refused.

    Args:
        model: of ours or of mmdet, on the CPU or a GPU.
        source: see :func:`read_source`.
        classes: names of the model's class rows. Where the checkpoint has another number of them,
            rows are matched by name; otherwise the rows, and their names, are those of the
            checkpoint.

    Returns:
        what the checkpoint says of its dataset: ``classes``, the names by class row of the model,
        and perhaps ``palette``; empty if it says nothing.

    Raises:
        CheckpointError: the checkpoint cannot be read, or does not fit the model.
    """
    checkpoint = read_source(source)
    stored = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    dataset = {key.lower(): value for key, value in stored.items()}  # mmdet 3.0 wrote CLASSES
    by_name = classes is not None and len(classes) != len(dataset.get('classes', classes))
    try:
        state = match_weights(model, checkpoint, classes if by_name else None, whole=True)
    except CheckpointError as error:
        raise CheckpointError(f'checkpoint {source}: {error}') from error
    model.load_state_dict(state, strict=False)
    return {'classes': tuple(classes)} if by_name and classes is not None else dataset
