"""Predictions that repeat better ones, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mmdet_dab.registry import TASK_UTILS
from tests.helpers import tiny

#: x1 y1 x2 y2: a box, one that shares 2/3 of their union with it, the same once more, and one elsewhere.
BOXES = torch.tensor([[0.0, 0, 0.5, 1], [0.1, 0, 0.6, 1], [0.1, 0, 0.6, 1], [0.8, 0, 1, 1]])
SCORES = torch.tensor([0.9, 0.8, 0.6, 0.5])


def matrix_nms(**settings):
    return TASK_UTILS.build(dict(type='mmdet_dab.MatrixNMS', **settings))


def test_scores_by_hand():
    """IoU of the first two: 0.4 / 0.6 = 2/3, so exp(−(2/3)²/0.5) for the second.

    The third is the second's duplicate, with an IoU of 1; that of the second, itself a duplicate of the first by 2/3,
    is taken off: exp(−(1 − (2/3)²)/0.5).
    """
    scores = matrix_nms()(SCORES[None], torch.zeros(1, 4, dtype=torch.long), BOXES[None])
    squared = (2 / 3) ** 2
    factors = [1, math.exp(-squared / 0.5), math.exp(-(1 - squared) / 0.5), 1]
    torch.testing.assert_close(scores[0], SCORES * torch.tensor(factors))


def test_other_classes_and_other_images_are_left_alone():
    labels = torch.tensor([[0, 1, 2, 0], [0, 0, 1, 1]])
    scores = matrix_nms(sigma=1.0)(SCORES.expand(2, -1), labels, BOXES.expand(2, -1, -1))
    assert torch.equal(scores[0], SCORES)
    torch.testing.assert_close(scores[1] / SCORES, torch.tensor([1, math.exp(-((2 / 3) ** 2)), 1, 1]))


def test_predictions_with_and_without():
    """The same boxes and classes, in another order; off by default."""
    pictures, samples = tiny.batch()
    found = {}
    for name, duplicates in (('plain', None), ('lowered', dict(type='mmdet_dab.MatrixNMS', sigma=0.1))):
        model = tiny.build(bbox_head=dict(selection=dict(duplicates=duplicates)))
        with torch.no_grad():
            found[name] = [sample.pred_instances for sample in model(pictures, samples, mode='predict')]
    assert tiny.build().bbox_head.selection.duplicates is None
    for plain, lowered in zip(found['plain'], found['lowered'], strict=True):
        plain, lowered = plain.clone(), lowered.clone()
        assert (lowered.scores[:-1] >= lowered.scores[1:]).all()
        assert lowered.scores.sum() < plain.scores.sum() - 1e-3
        rows = [sorted(zip(part.labels.tolist(), part.bboxes.tolist(), strict=True)) for part in (plain, lowered)]
        assert rows[0] == rows[1]


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ValueError, match='MatrixNMS: sigma=0 must be positive'):
        matrix_nms(sigma=0)
