"""Anchors from the training boxes: read by the Runner when a training run starts, and at no other time."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from mmdet_dab.config import load_config
from mmdet_dab.errors import DataError
from mmdet_dab.hooks import anchors_from_data_hook
from mmdet_dab.hooks.anchors_from_data_hook import training_boxes
from mmdet_dab.registry import DATASETS, MODELS
from tests.helpers import training

WIDTH, HEIGHT = 200, 100
#: The sizes of the six drawn objects, in parts of their images of 64 pixels.
SQUARE, BAR = (20 / 64, 20 / 64), (40 / 64, 8 / 64)
FROM_BOXES = dict(type='BoxAnchors', num_sizes=2)


def coco_set(folder, boxes, **fields):
    """A dataset of one image of 200 × 100 pixels, with boxes x y w h in pixels."""
    annotations = [
        {'id': number, 'image_id': 1, 'category_id': 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0, **fields}
        for number, box in enumerate(boxes, 1)
    ]
    images = [{'id': 1, 'file_name': 'a.jpg', 'width': WIDTH, 'height': HEIGHT}]
    file = folder / 'train.json'
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'thing'}]}
    file.write_text(json.dumps(content))
    config = dict(type='CocoDataset', ann_file=str(file), data_prefix=dict(img=''), pipeline=[])
    return DATASETS.build(dict(config, metainfo=dict(classes=('thing',))))


# --- What is read -----------------------------------------------------------------------------------


def test_boxes_by_hand(tmp_path):
    """In parts of the image; what lies outside is cut off."""
    found = training_boxes(coco_set(tmp_path, [[20, 10, 40, 20], [180, 80, 40, 40]]), 10)
    np.testing.assert_allclose(found, [(0.2, 0.2, 0.2, 0.2), (0.95, 0.9, 0.1, 0.2)], atol=1e-9)


def test_a_dataset_of_nothing_but_crowds_is_refused(tmp_path):
    boxes = [[20, 10, 40, 20], [180, 80, 40, 40]]
    with pytest.raises(DataError, match=r'CocoDataset .*train\.json: no object'):
        training_boxes(coco_set(tmp_path, boxes, iscrowd=1), 10)


class Numbered:
    """Ten images, of which image i has one box of width (i + 1) / 100."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return 10

    def get_data_info(self, index):
        self.read.append(index)
        flat = dict(bbox=[5, 5, 5, 9], ignore_flag=0)
        return dict(width=100, height=100, instances=[dict(bbox=[0, 0, index + 1, 50], ignore_flag=0), flat])


def test_images_are_evenly_spread_and_at_most_as_many_as_asked_for():
    dataset = Numbered()
    found = training_boxes(dataset, 4)
    assert dataset.read == [0, 3, 6, 9]
    np.testing.assert_allclose(found[:, 2], [0.01, 0.04, 0.07, 0.1])  # the boxes without width are left out
    dataset.read.clear()
    assert len(training_boxes(dataset, 2000)) == len(dataset.read) == 10


def test_a_wrapped_dataset_is_read_within():
    assert len(training_boxes(SimpleNamespace(dataset=Numbered()), 4)) == 4


def test_boxes_of_drawn_shapes():
    """What the dataset draws is what the anchors start from."""
    dataset = DATASETS.build(dict(type='SyntheticShapes', num_images=30, image_size=(64, 64), object_size=(0.3, 0.4)))
    longest = training_boxes(dataset, 30)[:, 2:].max(1)
    assert longest.min() > 0.25
    assert longest.max() < 0.42


# --- When it is read --------------------------------------------------------------------------------


class Watch(Hook):
    """Keeps the anchors as they are at the first step, and the number of that step."""

    anchors = step = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.anchors is None:
            generator = runner.model.query_generator
            self.anchors = getattr(generator, 'generator', generator).anchors().detach().clone()
            self.step = runner.iter


def config_of(folder, **overrides):
    folder.mkdir(exist_ok=True)
    config = training.config_of(folder, **overrides)
    config.model.query_generator.initial_anchors = FROM_BOXES
    config.train_cfg.max_epochs = 1
    return config


def first_anchors(config):
    """The anchors at the first step of a run, and its number."""
    runner, watch = training.build(config), Watch()
    runner.register_hook(watch)
    runner.train()
    return watch.anchors, watch.step


@pytest.fixture
def no_boxes_are_read(monkeypatch):
    def read(*args):
        raise AssertionError('the boxes of the training set were read')

    monkeypatch.setattr(anchors_from_data_hook, 'training_boxes', read)


@pytest.mark.parametrize('denoising', [False, True])
def test_anchors_are_placed_before_the_first_step(tmp_path, quiet_runner, denoising):
    """On a grid of 25, with the sizes of squares and bars, half each; inside another generator, too."""
    config = config_of(tmp_path)
    if denoising:
        config.model.query_generator = dict(
            type='DenoisingQueryGenerator', generator=config.model.query_generator, num_classes=2, embed_dims=32
        )
    anchors, step = first_anchors(config)
    assert step == 0
    sizes = {size: (anchors[:, 2:] - torch.tensor(size)).abs().amax(1) < 1e-4 for size in (SQUARE, BAR)}
    assert sorted(int(here.sum()) for here in sizes.values()) == [12, 13]
    fifths = torch.arange(5) / 5 + 0.1
    expected = torch.stack(torch.meshgrid(fifths, fifths, indexing='xy'), dim=-1).view(-1, 2)
    torch.testing.assert_close(anchors[:, :2], expected, rtol=0, atol=1e-4)


def test_points_take_the_places_only(tmp_path):
    """The hook places what the generator has of an anchor."""
    boxes = training_boxes(coco_set(tmp_path, [[20, 10, 40, 20], [100, 50, 40, 20]]), 10)
    config = dict(type='AnchorQueryGenerator', initial_anchors=dict(type='BoxAnchors', centers='data'))
    part = MODELS.build(dict(config, num_queries=2, embed_dims=8, anchor_dims=2))
    part.place(part.initial_anchors.from_boxes(boxes, 2))
    np.testing.assert_allclose(sorted(part.anchors().tolist()), [(0.2, 0.2), (0.6, 0.6)], atol=1e-6)


def saved_anchors(path):
    state = torch.load(path, weights_only=False)['state_dict']
    logits = [state[f'query_generator.{name}'] for name in ('centers', 'sizes')]
    return torch.cat(logits, dim=1).sigmoid()


@pytest.fixture
def trained(tmp_path, quiet_runner):
    """The checkpoint of a run of three steps, whose anchors are neither a grid's nor the boxes'."""
    config = config_of(tmp_path / 'first', default_hooks=dict(checkpoint=dict(interval=3)))
    config.optim_wrapper.optimizer.lr = 1e-2
    placed, _ = first_anchors(config)
    path = tmp_path / 'first' / 'work' / 'iter_3.pth'
    assert (saved_anchors(path) - placed).abs().max() > 1e-3
    return path


def test_a_run_that_resumes_keeps_its_anchors_and_reads_no_boxes(tmp_path, trained, no_boxes_are_read):
    config = config_of(tmp_path / 'second', resume=True, load_from=str(trained))
    config.train_cfg.max_epochs = 2
    anchors, step = first_anchors(config)
    assert step == 3
    assert torch.equal(anchors, saved_anchors(trained))


def test_anchors_of_a_checkpoint_win_over_the_boxes(tmp_path, trained):
    anchors, step = first_anchors(config_of(tmp_path / 'second', load_from=str(trained)))
    assert step == 0
    assert torch.equal(anchors, saved_anchors(trained))


def test_a_test_reads_no_boxes(tmp_path, trained, no_boxes_are_read):
    """Not even where the annotations of the training set are missing."""
    config = config_of(tmp_path / 'second', load_from=str(trained))
    whole = load_config(config.filename, {'data_root': str(tmp_path / 'second' / 'drawn')})
    for part in ('test_cfg', 'test_dataloader', 'test_evaluator'):
        config[part] = whole[part]
    config.train_dataloader.dataset.ann_file = 'missing.json'
    runner = training.build(config)
    runner.test()
    found = runner.model.query_generator.anchors()
    assert torch.equal(found.detach(), saved_anchors(trained))


def test_without_such_anchors_no_boxes_are_read(tmp_path, quiet_runner, no_boxes_are_read):
    config = config_of(tmp_path)
    config.model.query_generator.initial_anchors = training.ANCHORS
    _, step = first_anchors(config)
    assert step == 0


def test_a_training_set_without_objects_is_named(tmp_path, quiet_runner):
    config = config_of(tmp_path)
    file = tmp_path / 'drawn' / 'annotations' / 'all.json'
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {'annotations': []}))
    with pytest.raises(DataError, match=r'CocoDataset .*all\.json: no object'):
        training.build(config).train()
