"""From a checkpoint with other classes: what both have in common is kept, and nothing happens in silence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdet_dab.errors import CheckpointError, listed
from mmdet_dab.models.compatibility import contract_of
from mmdet_dab.registry import HOOKS


def class_tensors(model: nn.Module) -> Iterator[str]:
    """Names in the state dict of the tensors with a row for every class.

    A part that has some says so in its contract.
    """
    for path, part in model.named_modules():
        for name in contract_of(part).class_tensors:
            yield f'{path}.{name}' if path else name


def has_background(rows: Tensor, classes: Sequence[str]) -> bool:
    """Whether there is a row behind those of the classes (softmax)."""
    return len(rows) == len(classes) + 1


def select_rows(loaded: Tensor, start: Tensor, classes: Sequence[str], old_classes: Sequence[str]) -> Tensor:
    """Rows for ``classes``: those of the same name from ``loaded``, the others from ``start``.

    Args:
        loaded: (C_old, ...), a row for each of ``old_classes``, and perhaps a last one for background.
        start: (C, ...), freshly initialised, with a row for background if ``loaded`` has one.
        classes: the C names of the new rows.
        old_classes: the C_old names of the loaded ones.

    Returns:
        (C, ...); background is the same in both, and keeps its row.
    """
    rows = start.detach().clone()
    if has_background(start, classes) and has_background(loaded, old_classes):
        rows[-1] = loaded[-1]
    for row, name in enumerate(classes):
        if name in old_classes:
            rows[row] = loaded[list(old_classes).index(name)]
    return rows


@HOOKS.register_module()
class FineTuningHook(Hook):
    """Lets ``load_from`` take a checkpoint that was trained on other classes.

    The rows of classes with the same name are kept wherever they stand, those of other classes start
    afresh, and one line says so. What else differs between checkpoint and model is a warning with
    its counts; a checkpoint that has nothing in common with the model is refused.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Fit the class rows of ``checkpoint`` to the model, before the Runner loads it."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state = checkpoint.get('state_dict', checkpoint)
        for name in [name for name in state if name.startswith('module.')]:
            state[name.removeprefix('module.')] = state.pop(name)
        own = model.state_dict()
        classes = (getattr(runner.visualizer, 'dataset_meta', None) or {}).get('classes')
        old_classes = (checkpoint.get('meta', {}).get('dataset_meta') or {}).get('classes')
        names = [name for name in class_tensors(model) if name in state]
        if names and classes is not None and (old_classes is None or tuple(old_classes) != tuple(classes)):
            print_log(fit_classes(state, own, names, classes, old_classes), 'current')
        report_differences(state, own)


def fit_classes(
    state: MutableMapping[str, Tensor],
    own: Mapping[str, Tensor],
    names: Sequence[str],
    classes: Sequence[str],
    old_classes: Sequence[str] | None,
) -> str:
    """Replace the class rows in ``state`` by rows for ``classes``; return the line that says so."""
    background = has_background(own[names[0]], classes)
    if old_classes is None or len(old_classes) + background != len(state[names[0]]):
        if all(state[name].shape == own[name].shape for name in names):
            return f'fine-tuning: the checkpoint does not name its classes; its {len(classes)} are taken to be the same'
        old_classes = ()
    for name in names:
        state[name] = select_rows(state[name], own[name], classes, old_classes)
    kept = [name for name in classes if name in old_classes]
    fresh = [name for name in classes if name not in old_classes]
    return (
        f'fine-tuning: {len(kept)} of {len(classes)} classes are known from the checkpoint ({listed(kept) or "none"}), '
        f'and keep their rows of {listed(names) or "none"}; new ones start afresh ({listed(fresh) or "none"}); all '
        'other tensors are loaded'
    )


def report_differences(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Warn of every tensor that one side lacks or that has another shape.

    Raises:
        CheckpointError: checkpoint and model have nothing in common.
    """
    shared = [name for name in own if name in state]
    differing = [name for name in shared if state[name].shape != own[name].shape]
    if len(differing) == len(shared):
        raise CheckpointError(
            f'the checkpoint has none of the {len(own)} tensors of the model: it is of another model or layout '
            f'(it starts with {listed(list(state)) or "none"})'
        )
    # Batch norm's counter of batches: older checkpoints and the released ones do without.
    missing = [name for name in own if name not in state and not name.endswith('num_batches_tracked')]
    unexpected = [name for name in state if name not in own]
    for tensors, what in (
        (missing, f'of the {len(own)} tensors of the model are not in the checkpoint, and keep their start'),
        (
            differing,
            f'of the {len(own)} tensors of the model have another shape in the checkpoint, and keep their start',
        ),
        (unexpected, f'of the {len(state)} tensors of the checkpoint are not in the model, and are left out'),
    ):
        if tensors:
            print_log(f'ATTENTION: {len(tensors)} {what}: {listed(tensors)}', 'current', level=logging.WARNING)
