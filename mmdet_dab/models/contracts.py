"""Parts that must agree are checked when the model is built, not when it crashes.

A part states the facts that it shares with others in an attribute ``contract``, a dict such as
``{'embed_dims': 256, 'anchor_dims': 4}``. Parts without one (mmdet's, or a user's) are not asked.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def check_contracts(model: nn.Module) -> None:
    """Refuse a model whose parts contradict one another.

    Raises:
        ValueError: one sentence that names both parts, the fact and both values.
    """
    first: dict[str, tuple[str, Any]] = {}
    for path, part in model.named_modules():
        for fact, value in getattr(part, 'contract', {}).items():
            name = f'{path} ({type(part).__name__})'
            first_name, first_value = first.setdefault(fact, (name, value))
            if value != first_value:
                raise ValueError(
                    f'{first_name} has {fact}={first_value!r}, but {name} has {fact}={value!r}: '
                    'give both the same value in the config'
                )


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
