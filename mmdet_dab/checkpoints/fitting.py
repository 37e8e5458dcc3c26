"""Which config converted weights belong to, and whether a model takes them, tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mmdet_dab.checkpoints.layout import Conversion
from mmdet_dab.errors import CheckpointError, listed

#: Blocks of the third stage -> name in the configs' file names; for a Swin with its width.
RESNETS = {6: 'r50', 23: 'r101'}
SWINS = {(6, 96): 'swin_t', (18, 128): 'swin_b'}
#: How many tensors an error names before it goes on with their number.
NAMED = 3


def config_name(state: Mapping[str, Tensor]) -> str | None:
    """The file in ``configs/`` for weights of a published model, as far as tensors can tell.

    Backbone and number of patterns can be seen. DC5, fixed centres and the temperature cannot.

    Args:
        state: our state dict.

    Returns:
        such as ``dab_detr_r50_3pat_50e.py``, whether or not there is such a file; None for a backbone or a
        number of patterns that no published model has.
    """
    backbone = _backbone(state)
    patterns = len(state['query_generator.patterns']) if 'query_generator.patterns' in state else 0
    if backbone is None or patterns not in (0, 3):
        return None
    if 'query_generator.point.layers.0.weight' in state:
        return f'mix/conditional_detr_{backbone}_50e.py'
    if 'query_generator.position' in state:
        return f'mix/detr_{backbone}_150e.py'
    if 'tokenizer.level_embedding' in state:
        return f'dab_deformable_detr_{backbone}_50e_released.py'
    return f'dab_detr_{backbone}{"_3pat" if patterns else ""}_50e.py'


def _backbone(state: Mapping[str, Tensor]) -> str | None:
    if 'backbone.patch_embed.projection.weight' in state:
        width = len(state['backbone.patch_embed.projection.weight'])
        return SWINS.get((_count(state, r'backbone\.stages\.2\.blocks\.(\d+)\.norm1\.weight'), width))
    # Only bottlenecks have a third convolution.
    return RESNETS.get(_count(state, r'backbone\.layer3\.(\d+)\.conv3\.weight'))


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, name)) for name in state)


def check_fits(conversion: Conversion, model: Mapping[str, Tensor], config: str) -> None:
    """Refuse weights that are not exactly those of a model.

    Args:
        conversion: the converted weights.
        model: state dict of the model.
        config: where the model comes from, for the message.

    Raises:
        CheckpointError: names tensors that one side has and the other has not, or whose shapes differ.
    """
    state = conversion.state
    complaints = {
        'has no place for': [f"'{conversion.origin[name]}' ('{name}')" for name in state.keys() - model.keys()],
        # A frozen norm counts no batches, and torch does not ask for the count.
        'misses': [f"'{name}'" for name in model.keys() - state.keys() if not name.endswith('num_batches_tracked')],
        'has another shape for': [
            f"'{conversion.origin[name]}' ('{name}': {_shape(state[name])} in the checkpoint, {_shape(tensor)} here)"
            for name, tensor in model.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    found = [f'{verb} {listed(sorted(names), NAMED)}' for verb, names in complaints.items() if names]
    if found:
        raise CheckpointError(
            f'the model of {config} {", ".join(found)}: name the config of the model that it was trained with '
            'by --config, or a file that is whole'
        )


def _shape(tensor: Tensor) -> str:
    return '×'.join(map(str, tensor.shape)) or 'scalar'
