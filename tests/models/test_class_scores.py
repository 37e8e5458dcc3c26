"""What logits mean, by hand: a sigmoid for each class, or a softmax over classes and background."""

from __future__ import annotations

import math

import pytest
import torch

from mmdet_dab.models.class_scores import RowSums
from mmdet_dab.registry import MODELS

CLASSES = 3
#: (2 layers, 1 image, 2 queries); 3 is background.
LABELS = torch.tensor([[[1, 3]], [[3, 3]]])


def scores(kind, **config):
    return MODELS.build(dict(type=f'{kind}Scores', num_classes=CLASSES, **config))


def focal(logit, is_class):
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if is_class else -0.75 * p**2 * math.log(1 - p)


@pytest.mark.parametrize('loss', [dict(type='SigmoidFocalLoss'), dict(type='FocalLoss', use_sigmoid=True)])
def test_sigmoid_loss_by_hand(loss):
    """Summed over images, queries and classes; of a loss that sums by itself and of one that does not."""
    torch.manual_seed(0)
    criterion, logits = MODELS.build(loss), torch.randn(2, 1, 2, CLASSES)
    found = scores('Sigmoid').loss(criterion, logits, LABELS)
    expected = [
        sum(
            focal(logits[layer, 0, query, label].item(), LABELS[layer, 0, query] == label)
            for query in range(2)
            for label in range(CLASSES)
        )
        for layer in range(2)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_which_losses_sum_by_themselves():
    assert isinstance(MODELS.build(dict(type='SigmoidFocalLoss')), RowSums)
    assert not isinstance(MODELS.build(dict(type='FocalLoss', use_sigmoid=True)), RowSums)


@pytest.mark.parametrize('weight', [0.1, 1.0])
def test_softmax_loss_by_hand(weight):
    """Summed over images and queries, background by its weight."""
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 2, CLASSES + 1)
    found = scores('Softmax', background_weight=weight).loss(
        MODELS.build(dict(type='CrossEntropyLoss')), logits, LABELS
    )
    entropy = -logits.log_softmax(-1)
    first = entropy[0, 0, 0, 1] + weight * entropy[0, 0, 1, 3]
    second = weight * entropy[1, 0, :, 3].sum()
    torch.testing.assert_close(found, torch.stack((first, second)))


def test_what_a_layer_s_loss_is_divided_by():
    """The objects; or the weights of all queries."""
    assert scores('Sigmoid').weight(4.0, 10) == 4
    assert scores('Softmax').weight(4.0, 10) == pytest.approx(4 + 0.1 * 6)


def test_logits_and_start():
    """The prior is the probability of a class at the start; a softmax starts as it comes."""
    sigmoid, softmax = scores('Sigmoid', prior=0.2), scores('Softmax')
    assert (sigmoid.num_logits, softmax.num_logits) == (3, 4)
    assert 1 / (1 + math.exp(-sigmoid.initial_bias)) == pytest.approx(0.2)
    assert softmax.initial_bias is None


def test_best_by_hand():
    """Pairs of query and class; or queries, each with its best class, without background."""
    logits = torch.tensor([[[0.0, 3.0, 2.0], [1.0, -1.0, -2.0]]])
    values, labels, queries = scores('Sigmoid').best(logits, 3)
    torch.testing.assert_close(values, torch.tensor([[3.0, 2.0, 1.0]]).sigmoid())
    assert (labels.tolist(), queries.tolist()) == ([[1, 2, 0]], [[0, 0, 1]])
    assert scores('Sigmoid').best(logits, 100)[0].shape == (1, 6)
    logits = torch.tensor([[[0.0, 3.0, 2.0, 9.0], [1.0, -1.0, -2.0, 0.0]]])
    values, labels, queries = scores('Softmax').best(logits, 100)
    expected = logits.softmax(-1)
    torch.testing.assert_close(values, torch.stack((expected[:, 1, 0], expected[:, 0, 1]), dim=1))
    assert (labels.tolist(), queries.tolist()) == ([[0, 1]], [[1, 0]])


@pytest.mark.parametrize(
    ('kind', 'config', 'message'),
    [
        ('Sigmoid', dict(prior=0.0), 'SigmoidScores: prior=0.0 must be between 0 and 1'),
        ('Sigmoid', dict(prior=1.0), 'SigmoidScores: prior=1.0 must be between 0 and 1'),
        ('Softmax', dict(background_weight=0), 'SoftmaxScores: background_weight=0 must be positive'),
        ('Softmax', dict(num_classes=0), 'SoftmaxScores: num_classes=0 must be at least 1'),
    ],
)
def test_values_that_make_no_sense_are_refused(kind, config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(dict(type=f'{kind}Scores', num_classes=CLASSES), **config))
