"""The focal loss: its formula, mmdet's, and mmdet's heads with ours in the place of theirs."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from mmdet.models.losses import FocalLoss
from mmdet.registry import MODELS as MMDET_MODELS

from mmdet_dab.models import losses
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mmdet_models import their_config


def hard_logits():
    """(2 layers, 4 queries, 5 classes), some of them extreme, and labels, of which 5 is background."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5) * 4
    logits[1, 3] = torch.tensor([60.0, -60.0, 0.0, 30.0, -30.0])
    return logits.requires_grad_(), torch.tensor([[5, 2, 5, 0], [5, 5, 4, 1]])


@pytest.mark.parametrize(('alpha', 'gamma'), [(0.25, 2.0), (0.6, 1.5), (0.25, 0.0), (1.0, 2.0)])
def test_focal_loss_is_mmdets(alpha, gamma, monkeypatch):
    """Loss and gradient, also taken piece by piece, with a remainder; mmdet's takes a target as wide as the logits."""
    logits, labels = hard_logits()
    target = torch.nn.functional.one_hot(labels, 6)[..., :5].float()
    theirs = FocalLoss(use_sigmoid=True, alpha=alpha, gamma=gamma, loss_weight=2.0)
    ours = MODELS.build(dict(type='mmdet_dab.SigmoidFocalLoss', alpha=alpha, gamma=gamma, loss_weight=2.0))
    expected = theirs(logits.flatten(0, 1), target.flatten(0, 1), reduction_override='none').view(2, -1).sum(1)
    weights = torch.tensor([0.3, 0.7])
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), logits)
    for piece in (losses.PIECE, 14):
        monkeypatch.setattr(losses, 'PIECE', piece)
        found = ours.row_sums(logits, labels)
        (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_focal_loss_of_nothing_but_background():
    logits, labels = hard_logits()
    ours = MODELS.build(dict(type='mmdet_dab.SigmoidFocalLoss'))
    loss = ours.row_sums(logits, torch.full_like(labels, 5))
    expected = 0.75 * (logits.sigmoid() ** 2 * torch.nn.functional.softplus(logits)).sum((1, 2))
    torch.testing.assert_close(loss, expected)


def test_focal_loss_derives_only_where_a_gradient_is_asked_for(monkeypatch):
    logits, labels = hard_logits()
    ours = MODELS.build(dict(type='mmdet_dab.SigmoidFocalLoss'))
    given, formula = [], losses.background_loss

    def watched(logits, balance, gamma, slope):
        given.append(slope is not None)
        return formula(logits, balance, gamma, slope)

    monkeypatch.setattr(losses, 'background_loss', watched)
    expected = ours.row_sums(logits, labels)
    assert all(given)
    given.clear()
    torch.testing.assert_close(ours.row_sums(logits.detach(), labels), expected.detach())
    with torch.no_grad():
        torch.testing.assert_close(ours.row_sums(logits, labels), expected.detach())
    assert given
    assert not any(given)


def test_focal_loss_refuses_balance_and_focus_that_make_no_sense():
    for wrong in (dict(alpha=1.5), dict(gamma=-1.0)):
        with pytest.raises(ValueError, match=f'SigmoidFocalLoss: {next(iter(wrong))}='):
            MODELS.build(dict(type='mmdet_dab.SigmoidFocalLoss', **wrong))


# --- As mmdet's heads call it -----------------------------------------------------------------------

REDUCTIONS = {
    'mean': dict(),
    'mean by a factor': dict(avg_factor=2.5),
    'mean by a factor that is a tensor': dict(avg_factor=torch.tensor(2.5)),
    'sum': dict(reduction_override='sum'),
    'none': dict(reduction_override='none'),
}


def test_formula_by_hand():
    """−α_t (1 − p_t)^γ log p_t, with p = 0.8 for the class of the object and for another one."""
    logit = math.log(4)  # σ = 0.8
    found = losses.focal_loss(torch.tensor([logit, logit]), torch.tensor([1.0, 0.0]), 0.25, 2.0)
    expected = [-0.25 * 0.2**2 * math.log(0.8), -0.75 * 0.8**2 * math.log(0.2)]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', REDUCTIONS)
@pytest.mark.parametrize(('alpha', 'gamma'), [(0.25, 2.0), (0.6, 1.5)])
def test_all_reductions_are_mmdets_and_the_formula_s(reduction, weighted, alpha, gamma):
    """Loss and gradient, of logits that are extreme and of objects and background."""
    logits, labels = hard_logits()
    logits, labels = logits.detach().flatten(0, 1).requires_grad_(), labels.flatten()
    weight = torch.linspace(0, 2, len(labels)) if weighted else None
    settings, asked = dict(alpha=alpha, gamma=gamma, loss_weight=2.0), REDUCTIONS[reduction]
    ours = MODELS.build(dict(type='SigmoidFocalLoss', **settings))
    found = ours(logits, labels, weight, **asked)

    targets = torch.nn.functional.one_hot(labels, 6)[:, :5].float()
    formula = 2 * losses.focal_loss(logits, targets, alpha, gamma) * (1 if weight is None else weight[:, None])
    if reduction != 'none':
        factor = asked.get('avg_factor', logits.numel())
        formula = formula.sum() / (1 if reduction == 'sum' else factor)
    theirs = FocalLoss(use_sigmoid=True, **settings)(logits, labels, weight, **asked)

    slopes = torch.rand(found.shape) + 0.5
    (gradient,) = torch.autograd.grad((found * slopes).sum(), logits, retain_graph=True)
    for name, expected in (('formula', formula), ('mmdet', theirs)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f'{name}: {m}')
        (slope,) = torch.autograd.grad((expected * slopes).sum(), logits)
        torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f'{name}: {m}')


def test_the_reduction_of_the_config_is_the_default():
    logits, labels = hard_logits()
    logits, labels = logits.flatten(0, 1), labels.flatten()
    for reduction in ('mean', 'sum', 'none'):
        part = MODELS.build(dict(type='SigmoidFocalLoss', reduction=reduction))
        plain = MODELS.build(dict(type='SigmoidFocalLoss'))
        assert torch.equal(part(logits, labels), plain(logits, labels, reduction_override=reduction))


def test_sum_by_a_factor_and_unknown_reductions_are_refused():
    """As mmdet refuses them."""
    logits, labels = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)
    part = MODELS.build(dict(type='SigmoidFocalLoss'))
    with pytest.raises(ValueError, match='avg_factor=3'):
        part(logits, labels, avg_factor=3, reduction_override='sum')
    with pytest.raises(ValueError, match="SigmoidFocalLoss: reduction='average' is not one of 'mean', 'sum', 'none'"):
        part(logits, labels, reduction_override='average')
    with pytest.raises(ValueError, match="reduction='average'"):
        MODELS.build(dict(type='SigmoidFocalLoss', reduction='average'))


# --- Inside mmdet's heads ---------------------------------------------------------------------------

L, B, N, D = 3, 2, 7, 32
HEADS = {
    'DABDETRHead': ('dab_detr/dab-detr_r50_8xb2-50e_coco', dict(embed_dims=D)),
    'ConditionalDETRHead': ('conditional_detr/conditional-detr_r50_8xb2-50e_coco', dict(embed_dims=D)),
    'DeformableDETRHead': (
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
        dict(embed_dims=D, num_pred_layer=L, share_pred_layer=False, as_two_stage=False),
    ),
}


def head_losses(name, kind, counts):
    """Losses of mmdet's head with a class loss of this kind, of random states, and their gradient."""
    base, arguments = HEADS[name]
    model = their_config(base).model
    loss_cls = dict(model.bbox_head.loss_cls, type=kind)
    if kind == 'SigmoidFocalLoss':
        del loss_cls['use_sigmoid']
    config = dict(model.bbox_head, train_cfg=model.train_cfg, num_classes=3, loss_cls=loss_cls)
    head = MMDET_MODELS.build(config | arguments)
    tiny.shake(head)
    torch.manual_seed(0)
    states = torch.randn(L, B, N, D, requires_grad=True)
    _, samples = tiny.batch(counts=counts)
    references = {
        'DABDETRHead': (torch.rand(L, B, N, 4) * 0.8 + 0.1,),
        'ConditionalDETRHead': (torch.rand(B, N, 2) * 0.8 + 0.1,),
        'DeformableDETRHead': ([*(torch.rand(L, B, N, 4) * 0.8 + 0.1)], None, None),
    }[name]
    found = head.loss(states, *references, batch_data_samples=copy.deepcopy(samples))
    sum(found.values()).backward()
    return type(head.loss_cls), found, states.grad


@pytest.mark.parametrize('counts', [[3, 1], [0, 2], [0, 0]])
@pytest.mark.parametrize('name', HEADS)
def test_mmdets_heads_give_their_losses_with_ours(name, counts):
    their_class, expected, expected_gradient = head_losses(name, 'FocalLoss', counts)
    our_class, found, gradient = head_losses(name, 'SigmoidFocalLoss', counts)
    assert (their_class, our_class) == (FocalLoss, losses.SigmoidFocalLoss)
    assert list(found) == list(expected)
    for key, loss in found.items():
        torch.testing.assert_close(loss, expected[key], rtol=1e-5, atol=1e-6, msg=key)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
