"""Parts that must agree are compared when the model is built, not when it crashes.

A part of ours states in its attribute ``contract`` what others must know of it. Parts without one
(mmdet's, or a user's own) are not asked, but for what the config of a neck says of its maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from torch import nn


@dataclass(frozen=True)
class Contract:
    """What a part has in common with others; None where it makes no difference to the part.

    Attributes:
        query_kind: what the queries carry.
        anchor_dims: coordinates of an anchor; a tuple where the part can do with several.
        levels: feature levels whose tokens the part works on.
        class_scores: what logits are compared by.
        sine_code: whether the sine code of the anchor is scaled for, or looked at by, the
            cross-attention.
        embed_dims: width D.
        num_classes: C, without background.
        num_layers: decoder layers L.
        several_layers: whether there are more decoder layers than one.
        maps: feature maps that the neck must give.
        denoising: whether there are denoising queries, or a head that trains them.
        query_groups: whether queries come in groups, or a head that matches these one by one.
        place: the one place that the part is made for, such as ``'decoder self-attention'``.
        class_tensors: names of the part's parameters with a row for every class, which
            fine-tuning on other classes selects by name.
        masks_padding: whether a backbone takes the padding of the batch beside the images.
        gives: what changes on the way through the part, such as points from learned positions.
    """

    query_kind: Literal['anchors', 'learned positions'] | None = None
    anchor_dims: int | tuple[int, ...] | None = None
    levels: int | None = None
    class_scores: Literal['sigmoid', 'softmax'] | None = None
    sine_code: bool | None = None
    embed_dims: int | None = None
    num_classes: int | None = None
    num_layers: int | None = None
    several_layers: bool | None = None
    maps: int | None = None
    denoising: bool | None = None
    query_groups: bool | None = None
    place: str | None = None
    class_tensors: tuple[str, ...] = ()
    masks_padding: bool = False
    gives: Contract | None = None

    def facts(self) -> Iterator[tuple[str, Any]]:
        """What is compared: (name, value), in the order of the attributes."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ('place', 'class_tensors', 'masks_padding', 'gives') and value is not None:
                yield field.name, value


#: Of parts that state nothing.
NO_CONTRACT = Contract()

#: Facts for which it takes more than equal values in the config -> the fix; {value} is that of
#: the second part.
FIXES = MappingProxyType(
    {
        'query_kind': 'the second part needs queries with {value}: exchange one of the two',
        'anchor_dims': 'give both anchors of {value} coordinates, or exchange one of the parts',
        'class_scores': 'exchange one of the two, or take a loss_cls for a {value}',
        'sine_code': 'take a cross-attention that looks at the code of the anchor, or leave out what '
        'scales that code (position_scale=None, size_modulation=None)',
        'maps': 'give both the same number, or choose maps by levels of the tokenizer',
        'denoising': "take a head that trains denoising queries: type='SetPredictionHead'",
        'query_groups': "take a head that matches every group by itself: type='SetPredictionHead'",
        'levels': 'give both the same number of levels, or exchange one of the parts',
        'several_layers': 'a scale made of content starts in the second layer: give the decoder 2 '
        'layers or more, or leave the scale out',
    }
)


def contract_of(part: Any) -> Contract:
    """What a part states of itself."""
    contract = getattr(part, 'contract', NO_CONTRACT)
    return contract if isinstance(contract, Contract) else NO_CONTRACT


def neck_facts(neck: Mapping | Sequence[Mapping]) -> Iterator[tuple[str, str, Any]]:
    """What mmdet's necks say of their maps, by arguments of common names: (part, fact, value).

    Of several necks the last one gives the maps.
    """
    config = neck if isinstance(neck, Mapping) else neck[-1]
    for key, fact in (('out_channels', 'embed_dims'), ('num_outs', 'maps')):
        if isinstance(config.get(key), int):
            yield f'neck.{key} ({config["type"]})', fact, config[key]


def check_contracts(model: nn.Module, neck: Mapping | Sequence[Mapping]) -> None:
    """Refuse a model whose parts contradict one another.

    Facts are compared in the order in which images pass through the parts: a later part needs
    what an earlier one gives.

    Args:
        model: with all parts.
        neck: config of its neck, which is mmdet's and has no contract.

    Raises:
        ValueError: names both parts, the fact, both values and the fix.
    """
    first = {fact: (name, value) for name, fact, value in neck_facts(neck)}
    for path, part in model.named_modules():
        name, contract = f'{path} ({type(part).__name__})', contract_of(part)
        for fact, value in contract.facts():
            first_name, first_value = first.setdefault(fact, (name, value))
            if first_value not in (value if isinstance(value, tuple) else (value,)):
                fix = FIXES.get(fact, 'give both the same value').format(value=value)
                raise ValueError(f'{first_name} has {fact}={first_value!r}, but {name} has {fact}={value!r}: {fix}')
        if contract.gives is not None:
            first |= {fact: (name, value) for fact, value in contract.gives.facts()}


def check_place(parent: nn.Module, key: str, place: str) -> None:
    """Refuse a part in a place that it is not made for.

    Args:
        parent: has the part as its attribute ``key``.
        key: see there.
        place: such as ``'decoder self-attention'``.

    Raises:
        ValueError: names the part, the place and what the part is made for.
    """
    part = getattr(parent, key)
    made_for = contract_of(part).place
    if made_for not in (None, place):
        raise ValueError(
            f'{type(parent).__name__}: {key} must be a part for {place}, but {type(part).__name__} '
            f'is one for {made_for}: exchange it'
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
