"""Anchors from the training boxes: their sizes and places by hand, the same everywhere, and read in training only."""

import json

import numpy as np
import pytest
import torch

from mmdet_dab.models.anchors import clusters, shares
from mmdet_dab.registry import MODELS, TASK_UTILS

WIDTH, HEIGHT = 200, 100
SHAPES = dict(type='mmdet_dab.SyntheticShapes', num_images=30, image_size=(64, 64))


def coco_set(folder, boxes, **fields):
    """The config of a data set of one picture of 200 × 100 pixels, with boxes x y w h in pixels."""
    annotations = [
        {'id': number, 'image_id': 1, 'category_id': 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0, **fields}
        for number, box in enumerate(boxes, 1)
    ]
    images = [{'id': 1, 'file_name': 'a.jpg', 'width': WIDTH, 'height': HEIGHT}]
    file = folder / 'train.json'
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'thing'}]}
    file.write_text(json.dumps(content))
    return dict(
        type='CocoDataset',
        ann_file=str(file),
        pipeline=['not built'],
        data_prefix=dict(img=''),
        metainfo=dict(classes=('thing',)),
    )


def strategy(dataset, **settings):
    return TASK_UTILS.build(dict(type='mmdet_dab.BoxAnchors', dataset=dataset, **settings))


def test_sizes_are_scattered_on_one_grid_by_their_shares(tmp_path):
    """Six objects of 20 × 20 and two of 100 × 50 pixels: of 8 anchors, 6 and 2.

    A grid of 8 has rows of 2, 3 and 3. Multiples of the golden ratio, 0.618, leave 0, 0.62, 0.24, 0.85, 0.47, 0.09,
    0.71, 0.33 of a turn: the two greatest are those of anchors 3 and 6, which get the second size.
    """
    small = [[10 * number, 5 * number, 20, 20] for number in range(6)]
    large = [[0, 0, 100, 50], [90, 40, 100, 50]]
    anchors = strategy(coco_set(tmp_path, small + large), num_sizes=2)(8).sigmoid().numpy()
    rows = [(0.25, 1 / 6), (0.75, 1 / 6), *((x, y) for y in (0.5, 5 / 6) for x in (1 / 6, 0.5, 5 / 6))]
    sizes = [(0.5, 0.5) if number in (3, 6) else (0.1, 0.2) for number in range(8)]
    np.testing.assert_allclose(anchors, np.concatenate((rows, sizes), axis=1), atol=1e-6)


def test_whole_boxes_as_anchors(tmp_path):
    """One anchor for each of three boxes that differ; the queries that are left over get a grid."""
    boxes = [[20, 10, 40, 20], [100, 50, 40, 20], [150, 70, 20, 20]]
    anchors = strategy(coco_set(tmp_path, boxes), centers='data')(7).sigmoid().numpy()
    expected = [(0.2, 0.2, 0.2, 0.2), (0.6, 0.6, 0.2, 0.2), (0.8, 0.8, 0.1, 0.2)]
    np.testing.assert_allclose(sorted(map(tuple, anchors[:3])), expected, atol=1e-6)
    assert len(anchors) == 7
    assert len(np.unique(anchors.round(5), axis=0)) == 7


@pytest.mark.parametrize('centers', ['grid', 'data'])
def test_the_same_on_every_process_whatever_was_drawn_before(centers):
    torch.manual_seed(0)
    np.random.seed(0)
    first = strategy(SHAPES, centers=centers)(20)
    torch.manual_seed(1)
    np.random.seed(1)
    state = torch.get_rng_state()
    assert torch.equal(first, strategy(SHAPES, centers=centers)(20))
    assert torch.equal(state, torch.get_rng_state())


def test_sizes_are_those_of_the_objects():
    """All anchors lie within what the data set draws, and near the middle of it."""
    anchors = strategy(dict(SHAPES, object_size=(0.3, 0.4)), num_sizes=3)(12).sigmoid()
    assert (anchors[:, 2:].amax(1) > 0.25).all()
    assert (anchors[:, 2:].amax(1) < 0.42).all()


def test_crowds_flat_boxes_and_what_lies_outside_do_not_count(tmp_path):
    boxes = [[20, 10, 40, 20], [180, 80, 40, 40]]  # the second reaches 20 pixels beyond both borders
    sizes = strategy(coco_set(tmp_path, boxes), num_sizes=4)(2).sigmoid()[:, 2:]
    np.testing.assert_allclose(sorted(sizes.tolist()), [(0.1, 0.2), (0.2, 0.2)], atol=1e-6)
    with pytest.raises(ValueError, match=r'CocoDataset .*train\.json has no object'):
        strategy(coco_set(tmp_path, boxes, iscrowd=1))(2)


def test_data_are_read_when_weights_are_initialised_and_not_before(tmp_path):
    """A model is built without the data; its training begins at their boxes; the checkpoint carries them on."""
    dataset = coco_set(tmp_path, [[20, 10, 40, 20]])
    config = dict(
        type='mmdet_dab.AnchorQueryGenerator',
        initial_anchors=dict(type='mmdet_dab.BoxAnchors', dataset=dataset),
        num_queries=4,
        embed_dims=8,
    )
    trained = MODELS.build(config)
    trained.init_weights()
    np.testing.assert_allclose(trained.anchors().detach()[:, 2:], 0.2, atol=1e-6)
    (tmp_path / 'train.json').unlink()
    loaded = MODELS.build(config)
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded.anchors(), trained.anchors())
    with pytest.raises(FileNotFoundError, match=r'train\.json'):
        MODELS.build(config).init_weights()


def test_denoising_hands_the_initialisation_on():
    generator = dict(
        type='mmdet_dab.AnchorQueryGenerator',
        initial_anchors=dict(type='mmdet_dab.BoxAnchors', dataset=SHAPES),
        num_queries=4,
        embed_dims=8,
        anchor_dims=4,
    )
    part = MODELS.build(
        dict(type='mmdet_dab.DenoisingQueryGenerator', generator=generator, num_classes=3, embed_dims=8)
    )
    part.init_weights()
    np.testing.assert_allclose(part.generator.anchors().detach().logit(), strategy(SHAPES)(4), atol=1e-5)


def test_points_take_the_places_only(tmp_path):
    dataset = coco_set(tmp_path, [[20, 10, 40, 20], [100, 50, 40, 20]])
    part = MODELS.build(
        dict(
            type='mmdet_dab.AnchorQueryGenerator',
            initial_anchors=dict(type='mmdet_dab.BoxAnchors', dataset=dataset, centers='data'),
            num_queries=2,
            embed_dims=8,
            anchor_dims=2,
        )
    )
    part.init_weights()
    np.testing.assert_allclose(sorted(part.anchors().tolist()), [(0.2, 0.2), (0.6, 0.6)], atol=1e-6)


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
def test_bad_settings_are_refused_before_data_are_read(settings, message):
    with pytest.raises(ValueError, match=message):
        strategy(dict(type='CocoDataset', ann_file='nowhere.json'), **settings)
