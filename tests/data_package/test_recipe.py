"""The rules of the recipe, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mmdet_dab.data.base_model import FROM_IMAGENET, FROM_SCRATCH, SMALL, BaseModel
from mmdet_dab.data.recipe import (
    suggest,
    suggest_anchor_sizes,
    suggest_epochs,
    suggest_learning_rate,
    suggest_queries,
    suggest_scale,
)
from mmdet_dab.data.statistics import Statistics
from mmdet_dab.data.trial import Budget, Speed
from mmdet_dab.errors import DataError


def numbers(parts: list[float], sizes: tuple[int, int] = (640, 480)) -> Statistics:
    """Square objects whose side is that part of the longer side of their image, one on each."""
    sides = np.array(parts) * max(sizes)
    images = np.tile(np.array(sizes, dtype=float), (len(parts), 1))
    boxes = np.concatenate([np.stack([sides, sides], axis=1), images], axis=1)
    counts = np.ones(len(parts), dtype=int)
    return Statistics(images, counts, boxes, np.array([len(parts)]), np.array([len(parts)]), 0)


@pytest.mark.parametrize(
    ('parts', 'sizes', 'scale'),
    [
        # 2.5 strides of 16 pixels are 0.16 of 250 pixels, in steps of 32: 256; 3/4 of it in height.
        ([0.16] * 20, (640, 480), (256, 192)),
        # One in ten is 0.05 of the image: a stride needs 320 pixels.
        ([0.16] * 18 + [0.05] * 2, (640, 480), (320, 240)),
        # Large objects: no smaller than 192.
        ([0.9] * 20, (640, 480), (192, 144)),
        # Small ones: no more than 640, and no more than the images have.
        ([0.01] * 20, (2000, 1500), (640, 480)),
        ([0.01] * 20, (320, 320), (320, 320)),
        # Portraits.
        ([0.16] * 20, (480, 640), (192, 256)),
    ],
)
def test_scale(parts: list[float], sizes: tuple[int, int], scale: tuple[int, int]):
    assert suggest_scale(numbers(parts, sizes), 16)[0] == scale


def test_queries():
    """Two for each object of the fullest image, 20 at least, 900 at most unless there are more objects."""
    assert [suggest_queries(most, None)[0] for most in (1, 10, 30, 33, 800, 901)] == [20, 20, 60, 70, 900, 901]
    assert [suggest_queries(most, 300)[0] for most in (1, 300, 301)] == [300, 300, 610]


@pytest.mark.parametrize(('most', 'named'), [(1, '20'), (30, '2 for each'), (700, '900')])
def test_the_reason_names_the_rule_that_acted(most: int, named: str):
    assert named in suggest_queries(most, None)[1]
    assert f'{most} object' in suggest_queries(most, None)[1]


def test_anchor_sizes():
    """One size, but six where that of the 95th percentile is over ten times that of the 5th."""
    assert suggest_anchor_sizes(numbers([0.05] * 10 + [0.4] * 10))[0] == 1
    assert suggest_anchor_sizes(numbers([0.05] * 19 + [0.6]))[0] == 1
    sizes, reason = suggest_anchor_sizes(numbers([0.05] * 10 + [0.6] * 10))
    assert sizes == 6
    assert '12.0' in reason


def test_epochs():
    """200 images: 2,800 steps of 4, 56 epochs of 50. Four times as many: twice the steps. At most 300 epochs."""
    assert suggest_epochs(200, 4, True)[:2] == (56, 50)
    assert suggest_epochs(800, 4, True)[:2] == (28, 200)
    assert suggest_epochs(4, 4, True)[:2] == (300, 1)
    assert suggest_epochs(100_000, 8, True)[:2] == (12, 12_500)
    assert suggest_epochs(200, 4, False)[:2] == (28, 50)


def test_epochs_of_a_budget():
    """10 minutes, less 12 s to start and 10 validations of 3 s: 558 s of 50 steps of 0.5 s."""
    epochs, reason = Budget(10, Speed(0.5, 3)).epochs(50, 10)
    assert epochs == 22
    assert '0.5 s' in reason
    assert Budget(20, Speed(0.5, 3)).epochs(50, 10)[0] == 46


def test_a_budget_of_less_than_three_epochs_is_refused_and_says_how_many_minutes_it_takes():
    with pytest.raises(DataError, match=r'--minutes 1: .* 1\.9'):
        Budget(1, Speed(0.5, 3)).epochs(50, 10)
    assert Budget(2, Speed(0.5, 3)).epochs(50, 10)[0] == 3


def test_a_budget_is_spent_in_the_faster_precision():
    """588 s less 10 validations of 2 s: 568 s of 50 steps of 0.3 s. A gain within the noise does not count."""
    budget = Budget(10, Speed(0.5, 3), Speed(0.3, 2))
    assert budget.bfloat16
    assert budget.epochs(50, 10)[0] == 37
    assert not Budget(10, Speed(0.5, 3), Speed(0.45, 2)).bfloat16
    assert Budget(10, Speed(0.5, 3), Speed(0.45, 2)).epochs(50, 10)[0] == 22


def test_learning_rate():
    """From scratch 1e-3 · √(objects of a step / 50), between 3e-4 and 1e-3; from a checkpoint by the batch."""
    scratch, start = BaseModel(FROM_SCRATCH, 16), BaseModel(SMALL, 16, checkpoint='small.pth')
    found = [suggest_learning_rate(scratch, 4, objects)[0] for objects in (1, 3, 6.25, 12.5, 40)]
    assert found == [3e-4, 5e-4, 7e-4, 1e-3, 1e-3]
    assert '17' in suggest_learning_rate(scratch, 4, 4.3)[1]
    imagenet = BaseModel(FROM_IMAGENET, 16)
    assert [suggest_learning_rate(imagenet, 4, objects)[0] for objects in (0.5, 1.8, 3, 40)] == [6e-4, 8e-4, 1e-3, 1e-3]
    assert [suggest_learning_rate(start, batch, 1)[0] for batch in (1, 4)] == [3e-4, 5e-4]


def test_more_predictions_than_queries_and_classes_can_give_are_not_asked_for():
    assert suggest(numbers([0.2] * 20), 3, BaseModel(FROM_SCRATCH, 16)).max_per_img == 20
