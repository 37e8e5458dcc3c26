"""Anchors from known boxes: their sizes and places by hand, and the same everywhere."""

import numpy as np
import pytest
import torch

from mmdet_dab.models.anchors import GridAnchors, clusters, shares
from mmdet_dab.registry import TASK_UTILS


def strategy(**settings):
    return TASK_UTILS.build(dict(type='mmdet_dab.BoxAnchors', **settings))


def some_boxes(number=300, seed=0):
    """(n, 4) cx cy w h in 0..1."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0.05, 0.5, (number, 2))
    return np.concatenate((rng.uniform(sizes / 2, 1 - sizes / 2), sizes), axis=1)


def test_sizes_are_scattered_on_one_grid_by_their_shares():
    """Six objects of 0.1 × 0.2 and two of 0.5 × 0.5 of the image: of 8 anchors, 6 and 2.

    A grid of 8 has rows of 2, 3 and 3. Multiples of the golden ratio, 0.618, leave 0, 0.62, 0.24, 0.85, 0.47, 0.09,
    0.71, 0.33 of a turn: the two greatest are those of anchors 3 and 6, which get the second size.
    """
    small = [[0.05 * number + 0.05, 0.05 * number + 0.1, 0.1, 0.2] for number in range(6)]
    large = [[0.25, 0.25, 0.5, 0.5], [0.7, 0.65, 0.5, 0.5]]
    anchors = strategy(num_sizes=2).from_boxes(np.array(small + large), 8).sigmoid().numpy()
    rows = [(0.25, 1 / 6), (0.75, 1 / 6), *((x, y) for y in (0.5, 5 / 6) for x in (1 / 6, 0.5, 5 / 6))]
    sizes = [(0.5, 0.5) if number in (3, 6) else (0.1, 0.2) for number in range(8)]
    np.testing.assert_allclose(anchors, np.concatenate((rows, sizes), axis=1), atol=1e-6)


def test_whole_boxes_as_anchors():
    """One anchor for each of three boxes that differ; the queries that are left over get a grid."""
    boxes = np.array([[0.2, 0.2, 0.2, 0.2], [0.6, 0.6, 0.2, 0.2], [0.8, 0.8, 0.1, 0.2]])
    anchors = strategy(centers='data').from_boxes(boxes, 7).sigmoid().numpy()
    np.testing.assert_allclose(sorted(map(tuple, anchors[:3])), boxes, atol=1e-6)
    assert len(anchors) == 7
    assert len(np.unique(anchors.round(5), axis=0)) == 7


def test_until_boxes_are_known_anchors_are_a_grid():
    """The model is built without data; a checkpoint brings the anchors along."""
    torch.manual_seed(0)
    found = strategy(num_sizes=3)(9)
    torch.manual_seed(0)
    assert torch.equal(found, GridAnchors()(9))


@pytest.mark.parametrize('centers', ['grid', 'data'])
def test_the_same_on_every_process_whatever_was_drawn_before(centers):
    torch.manual_seed(0)
    np.random.seed(0)
    first = strategy(centers=centers, num_sizes=4).from_boxes(some_boxes(), 20)
    torch.manual_seed(1)
    np.random.seed(1)
    state = torch.get_rng_state()
    assert torch.equal(first, strategy(centers=centers, num_sizes=4).from_boxes(some_boxes(), 20))
    assert torch.equal(state, torch.get_rng_state())


def test_clusters_by_hand():
    """Sizes are averaged by their logarithm: of 0.1 and 0.4 the middle is 0.2."""
    sizes = np.array([[0.1, 0.1], [0.4, 0.4], [0.001, 0.001], [0.001, 0.001], [0.001, 0.001]])
    middles, counts = clusters(sizes, 2, seed=0)
    order = np.argsort(middles[:, 0])
    np.testing.assert_allclose(middles[order], [(0.001, 0.001), (0.2, 0.2)])
    assert counts[order].tolist() == [3, 2]


@pytest.mark.parametrize(
    ('counts', 'total', 'expected'), [([75, 25], 8, [6, 2]), ([1000, 1], 5, [4, 1]), ([1, 1, 1], 3, [1, 1, 1])]
)
def test_shares(counts, total, expected):
    assert shares(np.array(counts), total) == expected


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(centers='middle'), "centers='middle' is not one of"),
        (dict(num_sizes=0), 'num_sizes=0'),
        (dict(max_images=0), 'max_images=0'),
    ],
)
def test_bad_settings_are_refused_when_built(settings, message):
    with pytest.raises(ValueError, match=message):
        strategy(**settings)
