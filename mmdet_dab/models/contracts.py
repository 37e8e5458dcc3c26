"""Parts that must agree are checked when the model is built, not when it crashes.

A part states the facts that it shares with others in an attribute ``contract``, a dict such as
``{'embed_dims': 256, 'anchor_dims': 4}``. Parts without one (mmdet's, or a user's) are not asked. Facts are compared
in the order in which pictures pass through the parts: a later part needs what an earlier one gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from torch import nn

#: Facts for which it takes more than equal values in the config -> what is missing; {value} is that of the second part.
MENDS = MappingProxyType(
    {
        'query_kind': 'queries with {value} are missing, exchange one of the two parts',
        'anchor_dims': 'anchors of {value} coordinates are missing, give both the same or exchange one of the parts',
        'class_scores': 'logits for a {value} are missing, exchange one of the two or the loss_cls of the head',
        'feature_levels': 'a part for as many levels is missing, give both the same or exchange one of the parts',
    }
)


def parts_of(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A part and those of its parts that are no modules, listed in its attribute ``parts``, by their paths."""
    yield path, part
    for name, inner in getattr(part, 'parts', {}).items():
        yield from parts_of(inner, f'{path}.{name}')


def check_contracts(model: nn.Module) -> None:
    """Refuse a model whose parts contradict one another.

    Raises:
        ValueError: one sentence that names both parts, the fact and both values.
    """
    first: dict[str, tuple[str, Any]] = {}
    modules = (pair for path, module in model.named_modules() for pair in parts_of(module, path))
    for path, part in modules:
        for fact, value in getattr(part, 'contract', {}).items():
            name = f'{path} ({type(part).__name__})'
            first_name, first_value = first.setdefault(fact, (name, value))
            if value != first_value:
                mend = MENDS.get(fact, 'give both the same value in the config').format(value=value)
                raise ValueError(f'{first_name} has {fact}={first_value!r}, but {name} has {fact}={value!r}: {mend}')


def choose(part: str, key: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: names the part, the key, the value and the choices.
    """
    if value not in choices:
        raise ValueError(f'{part}: {key}={value!r} is not one of {", ".join(map(repr, choices))}')
    return value


def require(part: str, key: str, value: Any, holds: bool, wanted: str) -> None:
    """Refuse a value that makes no sense.

    Raises:
        ValueError: names the part, the key, the value and what it must be.
    """
    if not holds:
        raise ValueError(f'{part}: {key}={value!r} must be {wanted}')
