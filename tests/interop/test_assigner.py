"""The assigner assigns as mmdet's does, and serves in mmdet's own heads."""

from __future__ import annotations

import re

import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmdet_dab.registry import TASK_UTILS

SHAPE = (480, 640)
BOX_COSTS = (
    [dict(type='mmdet_dab.BoxL1Cost', weight=5.0), dict(type='mmdet_dab.GIoUCost', weight=2.0)],
    [dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'), dict(type='IoUCost', iou_mode='giou', weight=2.0)],
)
CLASS_COSTS = {
    'sigmoid': (dict(type='mmdet_dab.FocalCost', weight=2.0), dict(type='FocalLossCost', weight=2.0)),
    'softmax': (dict(type='mmdet_dab.ClassificationCost'), dict(type='ClassificationCost')),
}


def assigners(scores='sigmoid'):
    ours, theirs = CLASS_COSTS[scores]
    matcher = dict(type='mmdet_dab.HungarianMatcher', costs=[ours, *BOX_COSTS[0]])
    return (
        TASK_UTILS.build(dict(type='mmdet_dab.MatcherAssigner', matcher=matcher)),
        TASK_UTILS.build(dict(type='mmdet.HungarianAssigner', match_costs=[theirs, *BOX_COSTS[1]])),
    )


def boxes(count, generator):
    """(count, 4) x1 y1 x2 y2 in pixels, some of them beyond the border of the image."""
    centre, size = torch.rand(2, count, 2, generator=generator)
    return torch.cat((centre - size / 2, centre + size / 2), 1) * torch.tensor([SHAPE[1], SHAPE[0]] * 2)


def image(queries, objects, seed):
    generator = torch.Generator().manual_seed(seed)
    predictions = InstanceData(scores=torch.randn(queries, 6, generator=generator), bboxes=boxes(queries, generator))
    labels = torch.randint(5, (objects,), generator=generator)
    return predictions, InstanceData(labels=labels, bboxes=boxes(objects, generator)), dict(img_shape=SHAPE)


@pytest.mark.parametrize('scores', CLASS_COSTS)
@pytest.mark.parametrize(('queries', 'objects'), [(300, 60), (20, 1), (20, 0), (5, 12), (7, 7), (0, 3), (0, 0)])
def test_assigns_as_mmdets(scores, queries, objects):
    ours, theirs = assigners(scores)
    for seed in range(5):
        found, expected = (assigner.assign(*image(queries, objects, seed)) for assigner in (ours, theirs))
        assert found.num_gts == objects
        assert int((found.gt_inds > 0).sum()) == min(queries, objects)
        assert torch.equal(found.gt_inds, expected.gt_inds)
        assert torch.equal(found.labels, expected.labels)


def test_every_object_has_one_query_and_gives_it_its_label():
    ours, _ = assigners()
    predictions, truth, meta = image(50, 9, 3)
    result = ours.assign(predictions, truth, meta)
    pairs = {(query, target - 1) for query, target in enumerate(result.gt_inds.tolist()) if target}
    assert len(pairs) == 9
    assert {target for _, target in pairs} == set(range(9))
    assert all(result.labels[query] == truth.labels[target] for query, target in pairs)


def test_boxes_of_mmdets_box_type():
    ours, _ = assigners()
    predictions, truth, meta = image(50, 9, 3)
    expected = ours.assign(predictions, truth, meta).gt_inds
    truth.bboxes = HorizontalBoxes(truth.bboxes)
    assert torch.equal(ours.assign(predictions, truth, meta).gt_inds, expected)


def test_divergence_names_the_image():
    ours, _ = assigners()
    predictions, truth, meta = image(50, 9, 3)
    predictions.scores[4, 0] = float('nan')
    message = 'A prediction for street.jpg is not finite: the training has diverged'
    with pytest.raises(ValueError, match=re.escape(message)):
        ours.assign(predictions, truth, meta | dict(img_path='street.jpg'))
    with pytest.raises(ValueError, match='MatcherAssigner needs img_meta with img_shape'):
        ours.assign(predictions, truth)
