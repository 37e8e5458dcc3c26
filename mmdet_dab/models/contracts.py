"""Parts that must agree are checked when the model is built, not when it crashes.

A part states the facts that it shares with others in an attribute ``contract``, a dict such as
``{'embed_dims': 256, 'anchor_dims': 4}``. Parts without one (mmdet's, or a user's) are not asked, but for what the
config of a neck says of its feature maps. Facts are compared in the order in which pictures pass through the parts: a
later part needs what an earlier one gives. A part that turns one into another, as a decoder that makes points of
learned positions, says what it gives in ``provides``. A tuple is one of several values that a part can do with.

A part that is made for one place says so in an attribute ``role``, such as ``'decoder self-attention'``; the part
around it says in ``roles`` which role it needs where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

#: Facts for which it takes more than equal values in the config -> what is missing; {value} is that of the second part.
MENDS = MappingProxyType(
    {
        'query_kind': 'queries with {value} are missing, exchange one of the two parts',
        'anchor_dims': 'anchors of {value} coordinates are missing, give both the same or exchange one of the parts',
        'class_scores': 'logits for a {value} are missing, exchange one of the two or the loss_cls of the head',
        'sine_code': 'a cross-attention that looks at the code of the anchor is missing: exchange it, or switch off '
        'what scales that code (position_scale, modulate_size)',
        'feature_maps': 'give both the same number, or name the maps by levels of the tokenizer',
        'denoising_losses': "a head that trains denoising queries is missing, take type='mmdet_dab.SetPredictionHead'",
        'feature_levels': 'a part for as many levels is missing, give both the same or exchange one of the parts',
    }
)


def parts_of(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A part and those of its parts that are no modules, listed in its attribute ``parts``, by their paths."""
    yield path, part
    for name, inner in getattr(part, 'parts', {}).items():
        yield from parts_of(inner, f'{path}.{name}')


def neck_facts(neck: Mapping | Sequence[Mapping]) -> Iterator[tuple[str, str, Any]]:
    """What mmdet's necks say of their feature maps, by arguments of common names: (part, fact, value).

    Of several necks the last one gives the maps.
    """
    config = neck if isinstance(neck, Mapping) else neck[-1]
    for key, fact in (('out_channels', 'embed_dims'), ('num_outs', 'feature_maps')):
        if isinstance(config.get(key), int):
            yield f'neck.{key} ({config["type"]})', fact, config[key]


def check_roles(model: nn.Module) -> None:
    """Refuse a part in a place that it is not made for.

    Raises:
        ValueError: one sentence that names the part, the part around it and what it needs there.
    """
    for path, module in model.named_modules():
        for key, wanted in getattr(module, 'roles', {}).items():
            part = getattr(module, key)
            role = getattr(part, 'role', wanted)
            if role != wanted:
                raise ValueError(
                    f'{path} ({type(module).__name__}) needs a part for {wanted} at {key}, but {type(part).__name__} '
                    f'is one for {role}: exchange it'
                )


def check_contracts(model: nn.Module, neck: Mapping | Sequence[Mapping]) -> None:
    """Refuse a model whose parts contradict one another.

    Args:
        model: with all parts.
        neck: config of its neck, which is mmdet's and has no contract.

    Raises:
        ValueError: one sentence that names both parts, the fact and both values.
    """
    check_roles(model)
    first = {fact: (name, value) for name, fact, value in neck_facts(neck)}
    for path, part in (pair for name, module in model.named_modules() for pair in parts_of(module, name)):
        name = f'{path} ({type(part).__name__})'
        for fact, value in getattr(part, 'contract', {}).items():
            first_name, first_value = first.setdefault(fact, (name, value))
            if first_value not in (value if isinstance(value, tuple) else (value,)):
                mend = MENDS.get(fact, 'give both the same value in the config').format(value=value)
                raise ValueError(f'{first_name} has {fact}={first_value!r}, but {name} has {fact}={value!r}: {mend}')
        first |= {fact: (name, value) for fact, value in getattr(part, 'provides', {}).items()}


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
