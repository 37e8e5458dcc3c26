"""Tensors with a row for every class, and how they are carried over to other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence

from torch import Tensor, nn

from mmdet_dab.errors import listed
from mmdet_dab.models.compatibility import contract_of


def class_tensors(model: nn.Module) -> Iterator[str]:
    """Names in the state dict of the tensors with a row for every class.

    A part that has such tensors lists their names in its contract.
    """
    for path, part in model.named_modules():
        for name in contract_of(part).class_tensors:
            yield f'{path}.{name}' if path else name


def has_background(rows: Tensor, classes: Sequence[str]) -> bool:
    """Whether a row for background follows those of the classes (softmax)."""
    return len(rows) == len(classes) + 1


def select_rows(loaded: Tensor, start: Tensor, classes: Sequence[str], old_classes: Sequence[str]) -> Tensor:
    """Rows for ``classes``: those of the same name from ``loaded``, the others from ``start``.

    Args:
        loaded: (C_old, ...), a row for each of ``old_classes``, and perhaps a last one for
            background.
        start: (C, ...), freshly initialised, with a row for background if ``loaded`` has one.
        classes: the C names of the new rows.
        old_classes: the C_old names of the loaded ones.

    Returns:
        (C, ...); background means the same in both and keeps its row.
    """
    rows = start.detach().clone()
    if has_background(start, classes) and has_background(loaded, old_classes):
        rows[-1] = loaded[-1]
    for row, name in enumerate(classes):
        if name in old_classes:
            rows[row] = loaded[list(old_classes).index(name)]
    return rows


def fit_classes(
    state: MutableMapping[str, Tensor],
    own: Mapping[str, Tensor],
    names: Sequence[str],
    classes: Sequence[str],
    old_classes: Sequence[str] | None,
) -> list[str] | None:
    """Replace the class rows in ``state`` by rows for ``classes``.

    Args:
        state: weights of a checkpoint.
        own: weights of the model, freshly initialised.
        names: of the tensors with class rows.
        classes: names of the model's rows.
        old_classes: names of the checkpoint's rows, or None if it does not say.

    Returns:
        The classes that are new; None where the checkpoint names no classes, or another number than
        it has rows, but has as many rows as the model: then nothing is replaced.
    """
    background = has_background(own[names[0]], classes)
    if old_classes is None or len(old_classes) + background != len(state[names[0]]):
        if all(state[name].shape == own[name].shape for name in names):
            return None
        old_classes = ()
    for name in names:
        state[name] = select_rows(state[name], own[name], classes, old_classes)
    return [name for name in classes if name not in old_classes]


def describe_classes(classes: Sequence[str], new: Sequence[str] | None) -> str:
    """One line for the log about what :func:`fit_classes` returned."""
    if new is None:
        return f'classes: the checkpoint does not name its {len(classes)}, which are taken to be those of the config'
    kept = [name for name in classes if name not in new]
    return (
        f'classes: {len(kept)} of {len(classes)} have the name of a class in the checkpoint and keep their weights '
        f'({listed(kept) or "none"}); the others are initialised anew ({listed(new) or "none"})'
    )
