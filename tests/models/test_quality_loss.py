"""The matchability-aware loss, by hand and in the head."""

from __future__ import annotations

import math

import pytest
import torch

from mmdet_dab.models.head import SetPredictionHead
from mmdet_dab.models.matcher import Matches, Targets
from mmdet_dab.registry import MODELS
from tests.helpers import tiny

LOSS = dict(type='mmdet_dab.MatchabilityLoss')


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_by_hand():
    """A query with an object of class 0 and IoU 0.25, and one without; γ = 1.5, so that q^γ = 1/8."""
    logits = torch.tensor([[[logit(0.7), logit(0.2)], [logit(0.36), logit(0.01)]]], dtype=torch.float64)
    loss = MODELS.build(dict(LOSS, loss_weight=2.0))(logits, torch.tensor([[0, 2]]), torch.tensor([[0.25, 0.9]]))
    own = -math.log(0.7) / 8 - 7 / 8 * math.log(0.3)
    others = -(0.2**1.5) * math.log(0.8) - 0.36**1.5 * math.log(0.64) - 0.01**1.5 * math.log(0.99)
    assert loss.tolist() == pytest.approx([2 * (own + others)], rel=1e-9)


def test_slope_by_hand():
    """(p − q^γ) for the object's class; p^γ · p for others, whose weight is no variable."""
    logits = torch.tensor([[[logit(0.7), logit(0.36)]]], dtype=torch.float64, requires_grad=True)
    MODELS.build(LOSS)(logits, torch.tensor([[0]]), torch.tensor([[0.25]])).sum().backward()
    assert logits.grad.flatten().tolist() == pytest.approx([0.7 - 0.125, 0.36**2.5], rel=1e-9)


def test_the_best_score_is_the_quality():
    """At γ = 1 a query's loss is least where its score is its IoU."""
    scores = torch.linspace(0.05, 0.95, 19)
    loss = MODELS.build(dict(LOSS, gamma=1.0))
    totals = [loss(score.logit().view(1, 1, 1), torch.tensor([[0]]), torch.tensor([[0.6]])).item() for score in scores]
    assert scores[totals.index(min(totals))].item() == pytest.approx(0.6)


def test_without_objects_it_is_zero_only_where_scores_are():
    loss = MODELS.build(LOSS)
    background = torch.full((2, 3), 4)
    assert loss(torch.full((2, 3, 4), -50.0), background, torch.zeros(2, 3)).tolist() == pytest.approx([0, 0])
    assert (loss(torch.zeros(2, 3, 4), background, torch.zeros(2, 3)) > 0).all()


def test_quality_by_hand():
    """Query 1 of layer 1 covers the left half of its object."""
    boxes = torch.rand(2, 1, 3, 4)
    boxes[1, 0, 1] = torch.tensor([0.25, 0.5, 0.1, 0.4])
    targets = Targets(torch.tensor([[2]]), torch.tensor([[[0.3, 0.5, 0.2, 0.4]]]), [1])
    matches = Matches(*torch.tensor([[1], [0], [1], [0]]))
    expected = torch.zeros(2, 1, 3)
    expected[1, 0, 1] = 0.5
    torch.testing.assert_close(SetPredictionHead._quality(boxes, targets, matches), expected)


@pytest.mark.parametrize('counts', [[3, 1], [0, 0]])
def test_the_head_learns_by_it(counts):
    """Boxes get no gradient from the class loss."""
    model = tiny.build(bbox_head=dict(loss_cls=dict(LOSS, _delete_=True))).train()
    losses = model(*tiny.batch(counts=counts), mode='loss')
    assert all(loss.isfinite() for loss in losses.values())
    losses['loss_cls'].backward()
    assert model.bbox_head.class_branch.weight.grad.abs().sum() > 0
    assert model.bbox_head.box_branches[0].layers[-1].weight.grad is None


def test_softmax_scores_are_refused():
    with pytest.raises(ValueError, match='MatchabilityLoss'):
        tiny.build(
            bbox_head=dict(loss_cls=dict(LOSS, _delete_=True), class_scores=dict(type='mmdet_dab.SoftmaxScores'))
        )


def test_arguments_out_of_range_are_named():
    with pytest.raises(ValueError, match='gamma=-1'):
        MODELS.build(dict(LOSS, gamma=-1))
