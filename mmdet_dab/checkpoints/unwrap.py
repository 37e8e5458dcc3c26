"""Weights inside a checkpoint: the key they are stored under, and the prefix of their names.

Training code wraps a detector in averaging, distributed or compiled modules, and saves the wrapper:
``{'ema': {'module': {...}}}``, ``{'model': {'module.backbone.conv1.weight': ...}}``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from mmdet_dab.errors import CheckpointError, listed, plural

#: Keys of weights that were averaged over the training, which is what their authors evaluate.
AVERAGED = ('ema', 'ema_model', 'model_ema', 'state_dict_ema')
#: Keys of weights in the order in which they are looked for. ('ema_state_dict' is not among them:
#: mmengine's EMAHook keeps the averaged weights under 'state_dict', and the others under that key.)
KEYS = (*AVERAGED, 'state_dict', 'model', 'model_state_dict', 'module', 'net', 'weights')


def stored_weights(content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]] | None:
    """The tensors by name in what ``torch.load`` returned, and the keys that lead to them.

    Returns:
        None where there are none.
    """
    if not isinstance(content, Mapping) or not content:
        return None
    if all(type(key) is str and isinstance(value, Tensor) for key, value in content.items()):
        return dict(content), ()
    for key in KEYS:
        found = stored_weights(content.get(key))
        if found is not None:
            return found[0], (key, *found[1])
    return None


def without_prefix(weights: Mapping[str, Tensor], wanted: Collection[str], least: int) -> dict[str, Tensor] | None:
    """The weights whose names are wanted but for a prefix that they share, without that prefix.

    Args:
        weights: by their stored names.
        wanted: names without a prefix.
        least: how many of them must be found.

    Returns:
        None where no prefix leads to ``least`` of the names. Tensors without the prefix are left
        out.

    Raises:
        CheckpointError: two prefixes lead to equally many names, as those of a teacher and a
            student.
    """
    counts = Counter(_prefixes(weights, set(wanted)))
    most = max(counts.values(), default=0)
    if most < max(least, 1):
        return None
    found = sorted((prefix for prefix, count in counts.items() if count == most), key=len)
    averaged = [prefix for prefix in found if 'ema' in prefix.split('.')[0].split('_')]
    # A plain name comes first; of wrapped models, the averaged one.
    if len(found) > 1 and '' not in found and len(averaged) != 1:
        raise CheckpointError(
            f"the checkpoint holds {plural(len(found), 'model')}, behind the prefixes '{listed(found)}': "
            'save the weights of one of them'
        )
    prefix = '' if '' in found else (averaged or found)[0]
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _prefixes(names: Collection[str], wanted: set[str]) -> Iterator[str]:
    """For every name that ends in a wanted one: what comes before it, ``''`` or with its dot."""
    for name in names:
        start = 0
        while start >= 0:
            if name[start:] in wanted:
                yield name[:start]
            dot = name.find('.', start)
            start = dot + 1 if dot >= 0 else -1
