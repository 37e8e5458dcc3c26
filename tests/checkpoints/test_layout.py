"""Tables of names: what they make of tensors, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from mmdet_dab.checkpoints import LAYOUTS, CheckpointError, convert, recognise
from mmdet_dab.checkpoints.authors import AUTHORS
from mmdet_dab.checkpoints.layout import COCO_IDS, TwoWayLayout, renamed
from tests.helpers.golden import GoldenCase

PAIRS = (('a.#.b', 'x.#'), ('a', 'y'))


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('a.7.b', 'x.7'),
        ('a.12.b.weight', 'x.12.weight'),
        ('a.7.bb', 'y.7.bb'),  # not the first pair: the name goes on without a dot
        ('a', 'y'),
        ('ab', None),
        ('b.a.7.b', None),
    ],
)
def test_the_first_pair_whose_side_ends_at_a_dot_counts(name: str, expected: str | None):
    assert renamed(name, PAIRS) == expected


@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda layout: layout.source)
def test_both_sides_of_a_pair_have_the_same_indices(layout):
    for theirs, ours in (*layout.pairs, *layout.packed, *layout.copies):
        assert theirs.count('#') == ours.count('#'), (theirs, ours)


@pytest.fixture(scope='module')
def released() -> dict[str, torch.Tensor]:
    return GoldenCase.load('dab_detr_r50').checkpoint()['model']


def test_released_weights_become_ours_one_by_one(released):
    """590 tensors: 6 are the box MLP once more; 6 encoder layers × (weight, bias) become three each; anchors two."""
    conversion = AUTHORS.convert(released)
    assert len(released) == 590
    assert len(conversion.dropped) == 6
    assert set(conversion.dropped.values()) == {'equal to bbox_embed'}
    assert len(conversion.state) == 590 - 6 + 2 * 12 + 1
    assert set(conversion.origin.values()) | set(conversion.dropped) == set(released)
    packed = released['transformer.encoder.layers.3.self_attn.in_proj_weight']
    parts = [conversion.state[f'encoder.layers.3.self_attention.{role}.weight'] for role in ('query', 'key', 'value')]
    assert torch.equal(torch.cat(parts), packed)


def test_copies_that_differ_are_refused(released):
    name = 'transformer.decoder.bbox_embed.layers.1.bias'
    changed = {**released, name: released[name] + 1}
    with pytest.raises(CheckpointError, match=r"'transformer\.decoder\.bbox_embed\.layers\.1\.bias' and 'bbox_embed"):
        AUTHORS.convert(changed)


def test_a_copy_stands_in_for_a_missing_original(released):
    without = {name: tensor for name, tensor in released.items() if not name.startswith('bbox_embed')}
    whole, rest = AUTHORS.convert(released), AUTHORS.convert(without)
    assert rest.state.keys() == whole.state.keys()
    assert not rest.dropped


def test_an_unknown_tensor_is_named(released):
    with pytest.raises(CheckpointError, match=r"'label_enc\.weight' has no place in a DAB-DETR of the authors'"):
        AUTHORS.convert({**released, 'label_enc.weight': torch.zeros(1)})


@pytest.mark.parametrize('shape', [(300,), (300, 3), (300, 4, 1)])
def test_anchors_of_another_shape_are_refused(released, shape):
    with pytest.raises(CheckpointError, match=r"'refpoint_embed\.weight' must be \(A, 4\) or \(A, 2\), but is \(300"):
        AUTHORS.convert({**released, 'refpoint_embed.weight': torch.zeros(shape)})


def test_class_rows_are_those_of_coco(released):
    """Its ids are 1 to 90, without the ten that have no pictures; a person is 1, a toothbrush 90."""
    assert (len(COCO_IDS), COCO_IDS[0], COCO_IDS[-1]) == (80, 1, 90)
    conversion = AUTHORS.convert(released)
    assert conversion.class_rows == 91
    kept = conversion.with_classes(80)
    assert kept.class_rows == 80
    for part in ('weight', 'bias'):
        rows = kept.state[f'bbox_head.class_branch.{part}']
        assert torch.equal(rows[[0, 11, 79]], released[f'class_embed.{part}'][[1, 13, 90]])
    assert conversion.with_classes(91) is conversion


def test_branches_with_other_numbers_of_rows_are_left_for_the_check_of_shapes():
    rows = {'class_embed.weight': torch.zeros(91, 2), 'class_embed.bias': torch.zeros(80)}
    kept = AUTHORS.convert(rows).with_classes(80).state
    assert [len(tensor) for tensor in kept.values()] == [80, 80]
    assert AUTHORS.convert({'class_embed.weight': torch.zeros(())}).class_rows == 0


@pytest.mark.parametrize(('rows', 'num_classes', 'choice'), [(91, 20, '91 or 80'), (80, 91, '80'), (3, 80, '3')])
def test_class_counts_that_the_file_cannot_give(rows, num_classes, choice):
    conversion = AUTHORS.convert({'class_embed.weight': torch.zeros(rows, 2)})
    with pytest.raises(CheckpointError, match=f'num_classes={num_classes}: .* has {rows} class rows, give {choice}'):
        conversion.with_classes(num_classes)


def test_a_checkpoint_without_classes_is_no_released_model():
    with pytest.raises(CheckpointError, match=r'class_embed\.weight'):
        convert({'refpoint_embed.weight': torch.zeros(3, 4)})


def test_an_unknown_layout_says_which_are_known():
    with pytest.raises(CheckpointError) as error:
        recognise(['fc.weight', 'fc.bias', 'a', 'b'])
    message = str(error.value)
    assert 'fc.weight, fc.bias, a' in message
    for layout in LAYOUTS:
        assert layout.source in message


def test_ours_has_no_place_elsewhere_unless_the_table_says_so():
    layout = TwoWayLayout('other', 'others', marks=(), pairs=(('a', 'decoder'),), anchors='anchors')
    state = {'query_generator.centers': torch.zeros(3, 2), 'decoder.norm.weight': torch.ones(2)}
    assert layout.from_ours(state).keys() == {'anchors', 'a.norm.weight'}
    with pytest.raises(CheckpointError, match=r"'neck\.gn\.weight' has no place in a DAB-DETR of others"):
        layout.from_ours({'neck.gn.weight': torch.ones(2)})
