"""The parts of a detector as its config names them, where their classes and values come from.

A part is what the config describes by a dict of its own. The layers of a decoder are parts; the
linear layers in an attention are not. Settings are what the config states for a part, and what the
detector hands down to it. Defaults of a class are in its docstring.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from mmengine.config import Config
from mmengine.registry import MODELS, TASK_UTILS
from torch import nn

from mmdet_dab.models.decoder import merged
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.shared_values import default_of, parameters_of

#: Package of a class -> what descriptions call it; a class from anywhere else is yours.
ORIGINS: Mapping[str, str] = MappingProxyType(
    {'mmdet_dab': 'ours', 'mmdet': 'mmdet', 'mmcv': 'mmcv', 'mmengine': 'mmengine', 'torch': 'torch'}
)


@dataclass(frozen=True)
class Part:
    """A part of a detector.

    Attributes:
        name: of the attribute that holds it, or of its config where none does.
        kind: its class; ``''`` for a dict that only groups others.
        origin: ``'ours'``, the name of a package, or ``'yours: FILE'``.
        parameters: elements; what several parts share counts for the first of them.
        settings: what its config states beside its parts.
        parts: its own, in the order of the config.
        handed_down: where a value was stated that the part did not state itself, such as
            ``'model'`` -> those values by name.
        defaults: of the arguments of its class.
    """

    name: str
    kind: str
    origin: str
    parameters: int
    settings: Mapping[str, str]
    parts: tuple[Part, ...]
    handed_down: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict, compare=False)

    def value(self, key: str) -> str:
        """What the part has for an argument, wherever it comes from."""
        places = (self.settings, *self.handed_down.values(), self.defaults)
        return next((place[key] for place in places if key in place), 'not set')


def origin(kind: type) -> str:
    """Where a class comes from: ours, a package's, or yours and then its file."""
    package = kind.__module__.partition('.')[0]
    if package in ORIGINS:
        return ORIGINS[package]
    try:
        return f'yours: {os.path.relpath(inspect.getfile(kind))}'
    except (OSError, TypeError):  # a class without a file
        return f'yours: {kind.__module__}'


def describe(model: nn.Module, cfg: Config) -> Part:
    """The parts of ``model``, which was built from ``cfg.model``."""
    parameters = {name: parameter.numel() for name, parameter in model.named_parameters()}
    config = cfg.model.to_dict()
    whole = _Walk(parameters).part('model', '', model, config, shared_values(model, config))
    # mmdet's detectors hold some parts that no config describes, such as query embeddings.
    described = {part.name.partition('.')[0] for part in whole.parts}
    rest = [
        _Walk(parameters).part(name, name, child, {}) for name, child in model.named_children() if name not in described
    ]
    return replace(whole, parts=(*whole.parts, *rest))


class Stated(NamedTuple):
    """A value that is handed down, and the part that states it."""

    value: Any
    by: str


def shared_values(model: nn.Module, config: Mapping[str, Any]) -> dict[str, dict[str, Stated]]:
    """What a :class:`ComposedDETR` hands down: to which part, which arguments, from where.

    The rules are those of :func:`mmdet_dab.models.shared_values.hand_down`. Other detectors hand
    nothing down, or not what their configs say.
    """
    if type(model) is not ComposedDETR:
        return {}
    own = parameters_of(ComposedDETR)
    shared = {'embed_dims': default_of({**config, 'type': ComposedDETR}, 'embed_dims')}
    shared |= {name: value for name, value in config.items() if name not in own and name != 'type'}
    values = {name: Stated(value, 'model') for name, value in shared.items()}
    if 'num_classes' in config['bbox_head']:
        values['num_classes'] = Stated(config['bbox_head']['num_classes'], 'bbox_head')
    layers = {
        name: {'num_layers': Stated(default_of(config[stack], 'num_layers'), stack)}
        for name, stack in (('encoder', 'encoder'), ('decoder', 'decoder'), ('bbox_head', 'decoder'))
    }
    of_neck = {'out_channels': 'embed_dims', 'num_outs': 'num_levels'}
    neck = {theirs: values[ours] for theirs, ours in of_neck.items() if ours in values}
    return {name: neck if name == 'neck' else {**values, **layers.get(name, {})} for name in config}


class _Walk:
    """Follows a config and what was built from it side by side.

    Args:
        parameters: name of a parameter of the model -> elements.
    """

    def __init__(self, parameters: Mapping[str, int]) -> None:
        self._parameters = parameters

    def part(
        self,
        name: str,
        path: str,
        built: Any,
        config: Mapping[str, Any],
        handed: Mapping[str, Mapping[str, Stated]] | None = None,
        values: Mapping[str, Stated] | None = None,
    ) -> Part:
        """A part and all parts in it.

        Args:
            name: of the part.
            path: of the module ``built``.
            built: what ``config`` describes: a module, another object, or unknown (None).
            config: of the part.
            handed: of a detector: the values that it hands to each of its parts.
            values: those that are handed to this part.
        """
        settings: dict[str, str] = {}
        parts: list[Part] = []
        values = {key: Stated(config[key], path) if key in config else value for key, value in (values or {}).items()}
        for key, value in config.items():
            if key == 'type' or (key == 'first_layer' and 'layer' in config):
                continue
            found = list(self._parts(key, value, path, built, config, values if handed is None else handed.get(key)))
            if found:
                parts += found
            else:
                settings[key] = format_value(value)
        kind, source = _class(built, config)
        inside = f'{path}.' if path else ''
        count = sum(size for parameter, size in self._parameters.items() if parameter.startswith(inside))
        count = count if isinstance(built, nn.Module) else 0
        return Part(name, kind, source, count, settings, tuple(parts), _taken(config, values), _defaults(config))

    def _parts(
        self,
        key: str,
        value: Any,
        path: str,
        built: Any,
        config: Mapping[str, Any],
        values: Mapping[str, Stated] | None,
    ) -> Iterator[Part]:
        """The parts that an entry of a config describes; none where it is a setting."""
        name, child = _attribute(built, key)
        inner = f'{path}.{name}' if path else name
        if isinstance(value, Mapping) and isinstance(child, nn.ModuleList):
            for index, layer in enumerate(child):
                # The first layer of a decoder may differ.
                own = merged(value, config.get('first_layer') or {}) if index == 0 else value
                yield self.part(f'{name}.{index}', f'{inner}.{index}', layer, own, values=values)
        elif isinstance(value, Mapping) and (child is not None or (value and _typed(value) != key.endswith('_cfg'))):
            # Without an object of its own, mmengine's `*_cfg=dict(type=...)` is a setting, and an
            # untyped one, such as `train_cfg`, a group of parts and settings.
            yield self.part(name, inner, child, value, values=values)
        elif isinstance(value, (list, tuple)) and value and all(map(_typed, value)) and not key.endswith('_cfg'):
            listed = isinstance(child, (list, tuple, nn.ModuleList)) and len(child) == len(value)
            for index, (item, entry) in enumerate(zip(value, child if listed else [None] * len(value), strict=True)):
                yield self.part(f'{name}.{index}', f'{inner}.{index}', entry, item, values=values)


def _taken(config: Mapping[str, Any], values: Mapping[str, Stated]) -> dict[str, dict[str, str]]:
    """The values that a part takes, without having stated them, by the part that states them."""
    arguments = parameters_of(config['type']) if 'type' in config else {}
    taken: dict[str, dict[str, str]] = {}
    for name, stated in values.items():
        if name in arguments and name not in config:
            taken.setdefault(stated.by, {})[name] = format_value(stated.value)
    return taken


def _defaults(config: Mapping[str, Any]) -> dict[str, str]:
    arguments = parameters_of(config['type']) if 'type' in config else {}
    stated = {name: argument.default for name, argument in arguments.items()}
    return {name: format_value(value) for name, value in stated.items() if value is not inspect.Parameter.empty}


def _typed(value: Any) -> bool:
    return isinstance(value, Mapping) and 'type' in value


def _attribute(built: Any, key: str) -> tuple[str, Any]:
    """The attribute for which a config has ``key``: ``neck``, ``layers`` for ``layer``, ``ffn`` for
    ``ffn_cfg``.

    Returns:
        its name and what it holds, or ``key`` and None.
    """
    stem = key.removesuffix('_cfg')
    for name in (key, stem, f'{stem}s'):
        child = getattr(built, name, None)
        if child is not None and not isinstance(child, (Mapping, str)) and not inspect.isroutine(child):
            return name, child
    return key, None


def _class(built: Any, config: Mapping[str, Any]) -> tuple[str, str]:
    """Name and origin of the class of a part."""
    kind = config.get('type') if built is None else type(built)
    if isinstance(kind, str):
        registered = [_registered(registry, kind) for registry in (MODELS, TASK_UTILS)]
        kind = next(filter(None, registered), kind)
    if kind is None:
        return '', ''
    return (kind.__name__, origin(kind)) if isinstance(kind, type) else (str(kind), 'not found')


def _registered(registry: Any, name: str) -> Any:
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(name)


def format_value(value: Any) -> str:
    """A value of a config on one line; ``Type(key=value)`` for a dict that names a type."""
    if isinstance(value, Mapping):
        kind = value.get('type', 'dict')
        inside = ', '.join(f'{key}={format_value(item)}' for key, item in value.items() if key != 'type')
        return f'{getattr(kind, "__name__", kind)}({inside})'
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(format_value, value))}]'
    return str(value)


# --- One detector as text


def format_parts(whole: Part) -> str:
    """A line for every part, indented under the part it belongs to; equal neighbours share one, as
    ``5 × Layer``.
    """
    rows = [
        (
            '  ' * depth + name,
            f'{number} × {part.kind}' if number > 1 else part.kind,
            part.origin,
            format_count(part.parameters * number),
            _settings(part),
        )
        for depth, name, number, part in _lines([whole])
    ]
    return _aligned([('part', 'type', 'from', 'parameters', 'settings'), *rows], right=3)


def _settings(part: Part) -> str:
    """``its=own; embed_dims=256 ← model``."""
    groups = [', '.join(f'{key}={value}' for key, value in part.settings.items())]
    for source, values in part.handed_down.items():
        groups.append(', '.join(f'{key}={value}' for key, value in values.items()) + f' ← {source}')
    return '; '.join(filter(None, groups))


def _lines(parts: Iterable[Part], depth: int = 0, times: int = 1) -> Iterator[tuple[int, str, int, Part]]:
    """(depth, name, how many equal ones, one of them) of all lines."""
    for name, equal in _equal_neighbours(parts):
        number = times * len(equal)
        yield depth, name, number, equal[0]
        yield from _lines(equal[0].parts, depth + 1, number)


Named = TypeVar('Named', 'Part', 'Change')


def _equal_neighbours(items: Iterable[Named]) -> Iterator[tuple[str, list[Named]]]:
    """Runs of ``layers.1``, ``layers.2`` … that differ in nothing else, as ``layers.1-2``."""

    def run(item: Named) -> tuple[str, Named]:
        return item.name.rpartition('.')[0] or item.name, replace(item, name='')

    for _, group in groupby(items, run):
        equal = list(group)
        last = equal[-1].name.rpartition('.')[2]
        yield equal[0].name if len(equal) == 1 else f'{equal[0].name}-{last}', equal


def format_count(number: int) -> str:
    """Exact below ten thousand, thousandths of a million above."""
    return str(number) if number < 10_000 else f'{number / 1e6:.3f} M'


def _aligned(rows: list[tuple[str, ...]], right: int) -> str:
    """Columns two blanks apart; column ``right`` is set flush right, the last is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index == right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row[:-1], widths, strict=True))
        ]
        lines.append('  '.join([*cells, row[-1]]).rstrip())
    return '\n'.join(lines)


# --- What differs between two


@dataclass(frozen=True)
class Change:
    """A part that two detectors do not have alike.

    Attributes:
        name: as in :class:`Part`.
        before: parameters in the first; None where it has no such part.
        after: parameters in the second; None where it has no such part.
        what: its own differences, in words.
        parts: the parts of it that differ.
    """

    name: str
    before: int | None
    after: int | None
    what: tuple[str, ...]
    parts: tuple[Change, ...]


def compare(first: Part, second: Part) -> Change | None:
    """What differs between two detectors, or None."""
    what = []
    if (first.kind, first.origin) != (second.kind, second.origin):
        what.append(f'type: {_kind(first)} → {_kind(second)}')
    for key in dict.fromkeys((*first.settings, *second.settings)):
        before, after = first.value(key), second.value(key)
        if before != after:
            what.append(f'{key}: {before} → {after}')
    parts = tuple(_compare_parts(first, second))
    if not what and not parts and first.parameters == second.parameters:
        return None
    return Change(first.name, first.parameters, second.parameters, tuple(what), parts)


def _compare_parts(first: Part, second: Part) -> Iterator[Change]:
    before, after = ({part.name: part for part in whole.parts} for whole in (first, second))
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield Change(name, before[name].parameters, None, (f'only in the first: {_kind(before[name])}',), ())
        elif name not in before:
            yield Change(name, None, after[name].parameters, (f'only in the second: {_kind(after[name])}',), ())
        else:
            change = compare(before[name], after[name])
            if change is not None:
                yield change


def _kind(part: Part) -> str:
    return f'{part.kind} ({part.origin})' if part.kind else 'no type'


def format_changes(change: Change) -> str:
    """A line for every part that differs, and for what it belongs to."""
    return _aligned([('part', 'parameters', 'what differs'), *_change_rows([change])], right=1)


def _change_rows(changes: Iterable[Change], depth: int = 0, times: int = 1) -> Iterator[tuple[str, ...]]:
    for name, equal in _equal_neighbours(changes):
        number, change = times * len(equal), equal[0]
        before, after = (
            '-' if count is None else format_count(count * number) for count in (change.before, change.after)
        )
        yield '  ' * depth + name, f'{before} → {after}' if before != after else '', ', '.join(change.what)
        yield from _change_rows(change.parts, depth + 1, number)
