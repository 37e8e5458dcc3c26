"""Set matching against mmdet's assigner, brute force and arithmetic."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from mmdet.models.task_modules import HungarianAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData

from mmdet_dab.models.matcher import pad_targets
from mmdet_dab.registry import TASK_UTILS
from tests.helpers import tiny

LAYERS, QUERIES, CLASSES = 2, 8, 4


def build():
    return TASK_UTILS.build(tiny.tiny_config().bbox_head.matcher)


def random_boxes(*shape):
    """Boxes inside the image, cx cy w h."""
    low, size = torch.rand(*shape, 2) * 0.5, 0.05 + torch.rand(*shape, 2) * 0.4
    return torch.cat((low + size / 2, size), -1)


def random_batch(counts, seed=0):
    torch.manual_seed(seed)
    logits = torch.randn(LAYERS, len(counts), QUERIES, CLASSES)
    labels = [torch.randint(CLASSES, (count,)) for count in counts]
    return logits, random_boxes(LAYERS, len(counts), QUERIES), labels, [random_boxes(count) for count in counts]


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('counts', [[3, 1], [0, 5], [8, 8], [12, 2]])
def test_same_as_mmdets_assigner(counts, seed):
    logits, boxes, labels, truth = random_batch(counts, seed)
    matches = build()(logits, boxes, pad_targets(labels, truth))
    assigner = HungarianAssigner(
        match_costs=[
            dict(type='FocalLossCost', weight=2.0, eps=1e-8),
            dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
            dict(type='IoUCost', iou_mode='giou', weight=2.0),
        ]
    )
    height, width = 480, 640
    factor = torch.tensor([width, height, width, height])
    for layer, image in itertools.product(range(LAYERS), range(len(counts))):
        result = assigner.assign(
            InstanceData(scores=logits[layer, image], bboxes=bbox_cxcywh_to_xyxy(boxes[layer, image]) * factor),
            InstanceData(labels=labels[image], bboxes=bbox_cxcywh_to_xyxy(truth[image]) * factor),
            img_meta=dict(img_shape=(height, width)),
        )
        expected = {(q, t - 1) for q, t in enumerate(result.gt_inds.tolist()) if t > 0}
        here = (matches.layer == layer) & (matches.image == image)
        assert set(zip(matches.query[here].tolist(), matches.target[here].tolist(), strict=True)) == expected


def test_least_cost_by_brute_force():
    logits, boxes, labels, truth = random_batch([3])
    matcher, targets = build(), pad_targets(labels, truth)
    cost = sum(term(logits, boxes, targets) for term in matcher.costs)[0, 0]
    best = min(
        itertools.permutations(range(QUERIES), 3),
        key=lambda rows: sum(cost[row, t].item() for t, row in enumerate(rows)),
    )
    matches = matcher(logits, boxes, targets)
    first = matches.layer == 0
    found = dict(zip(matches.target[first].tolist(), matches.query[first].tolist(), strict=True))
    assert tuple(found[t] for t in range(3)) == best


def test_costs_by_hand():
    """A logit of 0 (p = 1/2); a box of half the image against one shifted by its width."""
    logits = torch.zeros(1, 1, 1, 2)
    boxes = torch.tensor([0.25, 0.5, 0.5, 1.0]).view(1, 1, 1, 4)
    targets = pad_targets([torch.tensor([1])], [torch.tensor([[0.75, 0.5, 0.5, 1.0]])])
    focal, l1, giou = (term(logits, boxes, targets).item() for term in build().costs)
    assert focal == pytest.approx(2 * (0.25 - 0.75) * 0.25 * math.log(2), rel=1e-5)
    assert l1 == pytest.approx(5 * 0.5)
    assert giou == pytest.approx(0, abs=1e-6)  # IoU 0, and the hull is their union


def test_no_objects():
    logits, boxes, labels, truth = random_batch([0, 0])
    matches = build()(logits, boxes, pad_targets(labels, truth))
    assert [len(index) for index in matches] == [0, 0, 0, 0]


def test_padding_does_not_change_the_matching():
    """An image matches alone as it does beside a fuller one."""
    logits, boxes, labels, truth = random_batch([2, 7])
    both = build()(logits, boxes, pad_targets(labels, truth))
    alone = build()(logits[:, :1], boxes[:, :1], pad_targets(labels[:1], truth[:1]))
    here = both.image == 0
    assert torch.equal(both.query[here], alone.query)
    assert torch.equal(both.target[here], alone.target)


def test_diverged_training_is_named():
    logits, boxes, labels, truth = random_batch([2, 1])
    logits[1, 0] = math.nan
    with pytest.raises(ValueError, match='not finite in decoder layer 1, image 0'):
        build()(logits, boxes, pad_targets(labels, truth))


def test_no_costs_is_refused():
    with pytest.raises(ValueError, match='costs is empty'):
        TASK_UTILS.build(dict(type='mmdet_dab.HungarianMatcher', costs=[]))
