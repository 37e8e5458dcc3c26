"""Parts that contradict one another, or stand in a wrong place, with parts made for the test."""

from __future__ import annotations

import re

import pytest
from torch import nn

from mmdet_dab.models.compatibility import NO_CONTRACT, Contract, check_contracts, check_place, contract_of

NECK = dict(type='Neck')


class First(nn.Module):
    def __init__(self, contract=None):
        super().__init__()
        if contract is not None:
            self.contract = contract


class Second(First):
    pass


def model(*contracts):
    """Parts ``a``, ``b`` … in the order in which images pass through them."""
    result = nn.Module()
    for name, kind, contract in zip('abcd', (First, Second, Second, Second), contracts, strict=False):
        result.add_module(name, kind(contract))
    return result


def refusal(built, neck=NECK):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (each caller reads the message)
        check_contracts(built, neck)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_equal_facts_fit_and_facts_that_only_one_states():
    check_contracts(model(Contract(embed_dims=8), Contract(embed_dims=8, levels=1), Contract(num_classes=3)), NECK)


def test_both_parts_the_fact_and_both_values_are_named():
    found = refusal(model(Contract(embed_dims=8), Contract(levels=1), Contract(embed_dims=16)))
    assert found.startswith('a (First) has embed_dims=8, but c (Second) has embed_dims=16: give both the same value')


@pytest.mark.parametrize(
    ('first', 'second', 'fix'),
    [
        (dict(query_kind='anchors'), dict(query_kind='learned positions'), 'queries with learned positions'),
        (dict(anchor_dims=0), dict(anchor_dims=4), '4 coordinates'),
        (dict(class_scores='softmax'), dict(class_scores='sigmoid'), 'loss_cls for a sigmoid'),
        (dict(sine_code=False), dict(sine_code=True), 'size_modulation=None'),
        (dict(maps=2), dict(maps=1), 'levels of the tokenizer'),
        (dict(denoising=True), dict(denoising=False), "type='SetPredictionHead'"),
        (dict(several_layers=False), dict(several_layers=True), '2 layers or more'),
    ],
)
def test_a_fact_that_takes_more_than_equal_values_names_the_fix(first, second, fix):
    key, (one, other) = next(iter(first)), (next(iter(facts.values())) for facts in (first, second))
    found = refusal(model(Contract(**first), Contract(**second)))
    assert f'a (First) has {key}={one!r}, but b (Second) has {key}={other!r}: ' in found
    assert fix in found.split(': ', 1)[1]


def test_one_of_several_values_is_enough():
    check_contracts(model(Contract(anchor_dims=2), Contract(anchor_dims=(2, 4))), NECK)
    assert 'anchor_dims=(2, 4)' in refusal(model(Contract(anchor_dims=0), Contract(anchor_dims=(2, 4))))


def test_what_a_part_gives_counts_for_those_behind_it():
    """Points of learned positions, as mmdet's decoder of Conditional DETR makes them."""
    decoder = Contract(anchor_dims=0, gives=Contract(anchor_dims=2))
    check_contracts(model(Contract(anchor_dims=0), decoder, Contract(anchor_dims=2)), NECK)
    found = refusal(model(Contract(anchor_dims=0), decoder, Contract(anchor_dims=0)))
    assert 'b (Second) has anchor_dims=2, but c (Second) has anchor_dims=0' in found


def test_parts_without_a_contract_are_not_asked():
    part = First()
    part.contract = {'embed_dims': 7}  # somebody else's idea of one
    assert contract_of(part) is contract_of(nn.Linear(1, 1)) is NO_CONTRACT
    built = model(Contract(embed_dims=8), None)
    built.add_module('other', part)
    check_contracts(built, NECK)


def test_place_and_class_tensors_are_no_facts():
    check_contracts(model(Contract(place='x', class_tensors=('w',)), Contract(place='y', class_tensors=('v',))), NECK)


@pytest.mark.parametrize('several', [False, True])
def test_necks_of_mmdet_are_compared_by_their_config(several):
    """Of several the last one gives the maps."""
    neck = dict(type='ChannelMapper', out_channels=16, num_outs=4)
    neck = [dict(type='FPN', out_channels=99), neck] if several else neck
    check_contracts(model(Contract(embed_dims=16, maps=4)), neck)
    assert refusal(model(Contract(embed_dims=8)), neck).startswith(
        'neck.out_channels (ChannelMapper) has embed_dims=16, but a (First) has embed_dims=8'
    )
    assert refusal(model(Contract(maps=1)), neck).startswith('neck.num_outs (ChannelMapper) has maps=4')


def test_a_part_in_a_wrong_place_is_refused():
    parent = model(Contract(place='encoder self-attention'), Contract())
    check_place(parent, 'a', 'encoder self-attention')
    check_place(parent, 'b', 'decoder cross-attention')  # it states no place
    message = 'Module: a must be a part for decoder cross-attention, but First is one for encoder self-attention'
    with pytest.raises(ValueError, match=re.escape(message)):
        check_place(parent, 'a', 'decoder cross-attention')
