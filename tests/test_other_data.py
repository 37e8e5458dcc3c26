"""The drawn data sets for trials: boxes lie where something was drawn, and nothing else changed."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks import other_data
from benchmarks.other_data import CHESSMEN, draw_chess, draw_shapes, touch, write


@pytest.fixture
def photographs(tmp_path):
    """Two flat grey pictures."""
    paths = [tmp_path / 'wide.png', tmp_path / 'tall.png']
    for path, shape in zip(paths, ((200, 320, 3), (320, 200, 3)), strict=True):
        cv2.imwrite(str(path), np.full(shape, 128, np.uint8))
    return paths


def test_chessmen_fill_their_boxes_and_nothing_else(photographs):
    for image, boxes, labels in draw_chess(12, 0, photographs):
        changed = (image != 128).any(-1)
        assert len(boxes) == len(labels) >= 1
        for index, box in enumerate(boxes):
            assert not any(touch(box, other) for other in boxes[index + 1 :])
            x1, y1, x2, y2 = map(int, box)
            inside = changed[y1:y2, x1:x2]
            # A soft edge may be too faint to show.
            assert all(border.any() for border in (inside[:3], inside[-3:], inside[:, :3], inside[:, -3:]))
            changed[y1:y2, x1:x2] = False
        assert not changed.any()


def test_each_man_is_drawn_in_two_ways_and_unlike_the_others():
    masks = []
    for letters in CHESSMEN.values():
        for letter in letters:
            upright = SimpleNamespace(uniform=lambda low, high: (low + high) / 2)
            masks.append(cv2.resize(other_data.draw_man(letter, 300, upright), (20, 20)))
    assert len(masks) == 12
    for index, mask in enumerate(masks):
        assert all(np.abs(mask - other).mean() > 0.05 for other in masks[index + 1 :])


def test_shapes_come_in_three_sizes_and_their_file_is_coco(tmp_path):
    write(draw_shapes(6, 1), 6, other_data.SyntheticShapes.METAINFO['classes'], tmp_path, 'val')
    document = json.loads((tmp_path / 'val.json').read_text())
    sizes = [(image['width'], image['height']) for image in document['images']]
    assert sizes == 2 * [(320, 240), (240, 320), (280, 280)]
    for image in document['images']:
        height, width = cv2.imread(str(tmp_path / 'images' / image['file_name'])).shape[:2]
        assert (width, height) == (image['width'], image['height'])
    drawn = list(draw_shapes(6, 1))
    assert [note['bbox'] for note in document['annotations']] == [
        [x1, y1, x2 - x1, y2 - y1] for sample in drawn for x1, y1, x2, y2 in sample.boxes
    ]
    assert {category['name'] for category in document['categories']} == set(
        other_data.SyntheticShapes.METAINFO['classes']
    )


def test_draws_the_same_twice_and_other_pictures_for_val(photographs):
    first, again, val = (next(draw_chess(1, seed, photographs)).image for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != val.shape or not np.array_equal(first, val)
