"""Whether weights and a model match, tensor by tensor, and which config weights belong to."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmdet_dab.checkpoints.class_rows import class_tensors, describe_classes, fit_classes
from mmdet_dab.checkpoints.layout import Conversion
from mmdet_dab.checkpoints.unwrap import stored_weights, without_prefix
from mmdet_dab.engine.values import describe_problems
from mmdet_dab.errors import CheckpointError, listed, plural
from mmdet_dab.models.layers import current_names

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
        such as ``dab_detr_r50_3pat_50e.py``, whether or not there is such a file; None for a
        backbone or a number of patterns that no published model has.
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
        CheckpointError: names tensors that one side has and the other has not, whose shapes differ,
            or that are no finite numbers.
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
    check_values(state, model)


def check_values(state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Refuse tensors that a model cannot compute with.

    Args:
        state: of a checkpoint, in our layout.
        model: state dict of the model.

    Raises:
        CheckpointError: names tensors that are no finite floating-point numbers.
    """
    problems = describe_problems(state, model)
    if problems:
        raise CheckpointError(f'the checkpoint is damaged: {problems}. Take another one, or one from before it')


def _shape(tensor: Tensor) -> str:
    return '×'.join(map(str, tensor.shape)) or 'scalar'


# --- Weights of our layout for a model that exists


def match_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], classes: Sequence[str] | None = None, *, whole: bool = False
) -> dict[str, Tensor]:
    """The weights in a checkpoint that a model takes: unwrapped, renamed, with class rows matched
    by name.

    What differs is logged: classes in one line, every other kind of difference as a warning.

    Args:
        model: of ours or of mmdet.
        checkpoint: as read, with the weights under any of the usual keys, or weights alone.
        classes: names of the model's class rows, or None if they are not known.
        whole: for prediction; what a training warns of is an error.

    Returns:
        tensors for ``model.load_state_dict(..., strict=False)``.

    Raises:
        CheckpointError: there are no weights; the checkpoint has nothing in common with the model;
            values are not finite numbers; or ``whole`` and tensors or classes are missing.
    """
    found = stored_weights({key: checkpoint[key] for key in checkpoint if key != 'meta'})
    if found is None:
        raise CheckpointError(f'the checkpoint holds no tensors by name (its keys: {listed(checkpoint) or "none"})')
    own = model.state_dict()
    state = current_names(model, without_prefix(found[0], own, least=1 + len(own) // 2) or found[0])
    check_values(state, own)
    old_classes = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')
    names = [name for name in class_tensors(model) if name in state]
    if names and classes is not None and (old_classes is None or tuple(old_classes) != tuple(classes)):
        new = fit_classes(state, own, names, classes, old_classes)
        print_log(describe_classes(classes, new), 'current')
        if whole and new:
            raise CheckpointError(
                f'the checkpoint does not know {plural(len(new), "class", "classes")} of the config ({listed(new)}): '
                'take the config that it was trained with'
            )
    report_differences(state, own, whole)
    return state


def report_differences(state: Mapping[str, Tensor], own: Mapping[str, Tensor], whole: bool = False) -> None:
    """Warn of every tensor that only one side has, or that has another shape.

    Args:
        state: of the checkpoint.
        own: of the model.
        whole: raise an error where a tensor of the model is missing or has another shape.

    Raises:
        CheckpointError: checkpoint and model have nothing in common, or ``whole``.
    """
    differences = dict(_differences(state, own))
    if not any(name in state and state[name].shape == tensor.shape for name, tensor in own.items()):
        raise CheckpointError(
            f'the checkpoint has none of the {len(own)} tensors of the model: it is of another model or layout '
            f'(it starts with {listed(state) or "none"})'
        )
    lacking = [f'{kind}: {listed(differences[kind])}' for kind in (MISSING, RESHAPED) if differences[kind]]
    if whole and lacking:
        raise CheckpointError(
            f'the checkpoint does not fit the model ({"; ".join(lacking)}): take the config that it was trained with, '
            'or a checkpoint that is whole'
        )
    for kind, names in differences.items():
        if names:
            total, side = (len(state), 'checkpoint') if kind == UNKNOWN else (len(own), 'model')
            text = f'{len(names)} of the {total} tensors of the {side} {kind}: {listed(names)}'
            print_log(f'ATTENTION: {text}', 'current', level=logging.WARNING)


MISSING = 'are not in the checkpoint and stay as they were initialised'
RESHAPED = 'have another shape in the checkpoint and stay as they were initialised'
UNKNOWN = 'are not in the model and are left out'


def _differences(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[tuple[str, list[str]]]:
    # Batch norm's counter of batches is missing in older checkpoints and in the released ones.
    yield MISSING, [name for name in own if name not in state and not name.endswith('num_batches_tracked')]
    yield RESHAPED, [name for name in own if name in state and state[name].shape != own[name].shape]
    yield UNKNOWN, [name for name in state if name not in own]
