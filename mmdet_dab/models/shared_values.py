"""Values that are said once: the detector hands them down to its parts.

Width, heads, classes and the like belong to the whole model. A part that takes an argument of that
name and was not given one gets the detector's. A part that was given one keeps it, and hands it to
the parts inside.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from mmdet_dab.errors import nearest
from mmdet_dab.registry import MODELS, TASK_UTILS, WEIGHT_INITIALIZERS


@cache
def _parameters(part: type) -> Mapping[str, inspect.Parameter]:
    """Those of its class; where they end in ``**settings``, those of the class that it is derived
    from, too.
    """
    found = dict(inspect.signature(part).parameters)
    for base in part.__mro__[1:-1]:
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in found.values()):
            break
        found = {name: one for name, one in found.items() if one.kind is not one.VAR_KEYWORD}
        found = {**inspect.signature(base).parameters, **found}
    return found


def parameters_of(kind: str | type) -> Mapping[str, inspect.Parameter]:
    """The arguments of a part by its type in a config; none where the type is not known."""
    if isinstance(kind, type):
        return _parameters(kind)
    for registry in (MODELS, TASK_UTILS, WEIGHT_INITIALIZERS):
        try:
            part = registry.get(kind)
        except (RuntimeError, TypeError):  # what mmengine says of an unknown name
            continue
        if isinstance(part, type):
            return _parameters(part)
    return {}


def default_of(config: Mapping[str, Any], name: str) -> Any:
    """What a part has for an argument: that of its config, else the default of its class, else
    None."""
    parameter = parameters_of(config['type']).get(name) if 'type' in config else None
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    return config.get(name, default)


def filled(node: Any, values: Mapping[str, Any], taken: set[str]) -> Any:
    """A copy of a config, in which every part that takes one of the values and has none gets it.

    Args:
        node: of a part, or anything inside; lists and dicts are looked through.
        values: name -> value.
        taken: gets the names that some part takes.
    """
    if isinstance(node, Mapping):
        arguments = parameters_of(node['type']) if 'type' in node else {}
        taken |= values.keys() & (arguments.keys() | node.keys())
        inside = {name: node.get(name, value) for name, value in values.items()}
        missing = {name: value for name, value in values.items() if name in arguments and name not in node}
        return {**{key: filled(value, inside, taken) for key, value in node.items()}, **missing}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return type(node)(filled(item, values, taken) for item in node)  # type: ignore[call-arg]
    return node


def hand_down(parts: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configs of a detector's parts with its shared values.

    Three values come from where MMDetection's users set them: the classes of all are the
    ``num_classes`` of the head, if it has any; the neck's ``out_channels`` and ``num_outs`` are the
    width and ``num_levels``; the head, and what is inside the decoder, learn its ``num_layers``.

    Args:
        parts: configs by name, with ``neck``, ``encoder``, ``decoder`` and ``bbox_head``.
        values: name -> value, with ``embed_dims``.

    Raises:
        TypeError: no part takes one of the values; names it, and arguments that it may have meant.
    """
    values = dict(values)
    if 'num_classes' in parts['bbox_head']:
        values['num_classes'] = parts['bbox_head']['num_classes']
    of_neck = {'out_channels': 'embed_dims', 'num_outs': 'num_levels'}
    taken: set[str] = set()
    results = {}
    for name, part in parts.items():
        own = values
        if name == 'neck':
            own = {theirs: values[ours] for theirs, ours in of_neck.items() if ours in values}
        elif name in ('encoder', 'decoder', 'bbox_head'):
            stack = parts['encoder' if name == 'encoder' else 'decoder']
            own = {**values, 'num_layers': default_of(stack, 'num_layers')}
        results[name] = filled(part, own, taken)
    for name in values.keys() - taken:
        known = {key for part in MODELS.module_dict.values() if isinstance(part, type) for key in _parameters(part)}
        meant = nearest(name, known)
        hint = f'; did you mean {", ".join(meant)}?' if meant else ''
        raise TypeError(f'{name}={values[name]!r} of the detector is taken by no part{hint}')
    return results
