"""The drawn data sets for trials: boxes lie where something was drawn, and nothing else changed."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks import other_data
from benchmarks.other_data import CHESSMEN, draw_chess, draw_shapes, photographs_in, touch
from mmdet_dab.data.coco import read_coco
from mmdet_dab.errors import UserError


@pytest.fixture
def photographs(tmp_path):
    """Two flat grey pictures."""
    paths = [tmp_path / 'wide.png', tmp_path / 'tall.png']
    for path, shape in zip(paths, ((200, 320, 3), (320, 200, 3)), strict=True):
        cv2.imwrite(str(path), np.full(shape, 128, np.uint8))
    return paths


def test_chessmen_fill_their_boxes_and_nothing_else(photographs):
    for info in draw_chess(12, 0, photographs):
        changed = (info['img'] != 128).any(-1)
        assert changed.shape == (info['height'], info['width'])
        boxes = [instance['bbox'] for instance in info['instances']]
        assert boxes
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


def test_shapes_come_in_three_sizes():
    infos = list(draw_shapes(6, 1))
    assert [info['img'].shape for info in infos] == 2 * [(240, 320, 3), (320, 240, 3), (280, 280, 3)]
    assert [info['img_id'] for info in infos] == list(range(6))


def test_the_files_are_what_the_tool_reads(photographs, tmp_path, monkeypatch):
    folder = tmp_path / 'out'
    for part in ('train2017', 'val2017'):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / '1.jpg'), cv2.imread(str(photographs[0])))
    monkeypatch.setattr(other_data, 'draw_chess', lambda total, seed, found: draw_chess(2 + seed, seed, found))
    monkeypatch.setattr(sys, 'argv', ['', 'chess', '--out', str(folder), '--photographs', str(tmp_path)])
    other_data.main()
    data = read_coco(folder / 'val/annotations.json')
    assert [category['name'] for category in data.categories] == list(CHESSMEN)
    assert len(data.images) == 3
    for image in data.images:
        shape = cv2.imread(str(folder / 'val/images' / image['file_name'])).shape
        assert shape == (image['height'], image['width'], 3)
    assert len(data.boxes) == sum(
        len(info['instances']) for info in draw_chess(3, 1, photographs_in(tmp_path / 'val2017'))
    )


def test_draws_the_same_twice_and_other_pictures_for_val(photographs):
    first, again, val = (next(draw_chess(1, seed, photographs))['img'] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != val.shape or not np.array_equal(first, val)


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(UserError, match=r'no \.jpg file in .*gone: name the folder around it with --photographs'):
        photographs_in(tmp_path / 'gone')
