"""Repeated labels: what each object is matched to, against a matching of a batch with copies."""

from __future__ import annotations

import pytest
import torch

from mmdet_dab.models.matcher import HungarianMatcher, pad_targets
from mmdet_dab.registry import TASK_UTILS
from tests.helpers import tiny

QUERIES, CLASSES = 9, 3


def batch(counts: tuple[int, ...]) -> tuple:
    torch.manual_seed(0)
    logits, boxes = torch.randn(2, len(counts), QUERIES, CLASSES), torch.rand(2, len(counts), QUERIES, 4)
    labels = [torch.randint(CLASSES, (count,)) for count in counts]
    return logits, boxes, labels, [0.2 + 0.3 * torch.rand(count, 4) for count in counts]


def matcher(repeats: int):
    inner = tiny.tiny_config().bbox_head.matcher
    return TASK_UTILS.build(dict(type='RepeatedMatcher', matcher=inner, repeats=repeats))


@pytest.mark.parametrize('counts', [(3, 1), (0, 4), (0, 0), (5, 2)])
@pytest.mark.parametrize('repeats', [1, 2, 3])
def test_as_a_batch_whose_objects_stand_there_several_times(counts: tuple[int, ...], repeats: int):
    logits, boxes, labels, objects = batch(counts)
    found = matcher(repeats)(logits, boxes, pad_targets(labels, objects))
    copies = pad_targets([one.repeat(repeats) for one in labels], [one.repeat(repeats, 1) for one in objects])
    plain: HungarianMatcher = TASK_UTILS.build(tiny.tiny_config().bbox_head.matcher)
    expected = plain(logits, boxes, copies)
    sizes = torch.tensor(counts)
    assert torch.equal(found.layer, expected.layer)
    assert torch.equal(found.query, expected.query)
    assert torch.equal(found.target, expected.target % sizes[expected.image].clamp(min=1))
    for layer in range(2):
        for image, count in enumerate(counts):
            targets = found.target[(found.layer == layer) & (found.image == image)]
            assert len(targets) == min(QUERIES, count * repeats)
            if count * repeats <= QUERIES:
                assert targets.bincount(minlength=count).tolist() == [repeats] * count


def test_losses_are_the_mean_over_all_pairs():
    """With one class and equal boxes, two copies cost what one does."""
    model = tiny.build()
    head = model.bbox_head
    inner = tiny.tiny_config().bbox_head.matcher
    inputs, samples = tiny.batch()
    torch.manual_seed(0)
    once = model.loss(inputs, samples)
    head.matcher = TASK_UTILS.build(dict(type='RepeatedMatcher', matcher=inner, repeats=1))
    torch.manual_seed(0)
    same = model.loss(inputs, samples)
    for name, value in once.items():
        torch.testing.assert_close(same[name], value, rtol=0, atol=0)
    head.matcher = matcher(2)
    twice = model.loss(inputs, samples)
    assert all(value.isfinite() for value in twice.values())
    assert twice['loss_bbox'] != once['loss_bbox']


def test_refuses_no_repetition_at_all():
    with pytest.raises(ValueError, match='repeats=0'):
        matcher(0)
