"""Whether a tensor from a file can be taken for one of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmdet_dab.errors import listed


def value_problem(given: Tensor, own: Tensor | None = None) -> str:
    """Why a tensor is no value for ``own``, apart from its shape; empty if it is one.

    Args:
        given: from a file.
        own: of the model; None: any numbers will do.
    """
    if given.layout is not torch.strided or given.is_quantized or given.device.type == 'meta':
        return 'is sparse, quantized or without values'
    if given.is_complex() or (own is not None and own.is_floating_point() and not given.is_floating_point()):
        return f'holds {str(given.dtype).removeprefix("torch.")}, not floating-point numbers'
    if given.is_floating_point() and not bool(torch.isfinite(given).all()):
        return 'holds NaN or infinite values'
    return ''


def describe_problems(given: Mapping[str, Any], own: Mapping[str, Tensor]) -> str:
    """What is wrong with the tensors of a checkpoint that a model has, too; empty if nothing is."""
    found = {
        name: problem
        for name, tensor in own.items()
        if isinstance(given.get(name), Tensor) and (problem := value_problem(given[name], tensor))
    }
    names = listed((f'{name} {problem}' for name, problem in found.items()), 3)
    return f'{len(found):,} of its tensors cannot be weights: {names}' if found else ''
