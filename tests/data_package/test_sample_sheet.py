"""The sheet of samples: what is on it, and names that a drawing library would take for more."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_dab.data.coco import read_coco
from mmdet_dab.data.sample_sheet import choose, draw_sheet
from mmdet_dab.data.statistics import Resizing
from mmdet_dab.errors import shortened
from tests.helpers.drawn import Drawn


def test_the_sheet_shows_the_boxes(drawn: Drawn, tmp_path: Path):
    """It holds the colours of both classes, and the background of the first and the last image."""
    data = read_coco(drawn.coco())
    path = tmp_path / 'sheet.jpg'
    draw_sheet(path, [('train', data, drawn.images)], ('square', 'bar'), Resizing((64, 48), keep_ratio=False))
    sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)
    assert sheet.shape[1] == 1760
    for colour in ((230, 60, 60), (60, 100, 230), (20, 20, 20), (160, 160, 160)):
        assert (np.abs(sheet - colour).max(axis=2) < 40).sum() > 500, colour


@pytest.mark.parametrize('name', ['$\\frac', 'a_b^c', '_bar', '大', '\\$1$', '%s', '<b>', ' '])
def test_names_are_drawn_as_they_are(
    drawn: Drawn, tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
):
    drawn.content['categories'][1]['name'] = name
    path = tmp_path / 'sheet.png'
    splits = [('train', read_coco(drawn.coco()), drawn.images)]
    draw_sheet(path, splits, ('square', name), Resizing((64, 48), keep_ratio=False))
    assert path.is_file()
    assert not [str(one.message) for one in recwarn if 'Glyph' in str(one.message)]
    assert capfd.readouterr().err == ''


def test_of_a_long_name_the_beginning_is_drawn(drawn: Drawn, tmp_path: Path):
    """All of it took ten seconds."""
    drawn.content['categories'][1]['name'] = name = 'x' * 100_000
    splits = [('train', read_coco(drawn.coco()), drawn.images)]
    started = time.process_time()
    draw_sheet(tmp_path / 'sheet.png', splits, ('square', name), Resizing((64, 48), keep_ratio=False))
    assert time.process_time() - started < 4
    assert shortened('x' * 60) == 'x' * 60
    assert len(shortened(name)) == 60


def test_images_with_an_orientation_and_invalid_boxes_are_chosen_and_damaged_ones_not(drawn: Drawn):
    exif = Image.Exif()
    exif[274] = 6
    Image.new('RGB', (48, 64)).save(drawn.images / '5.png', exif=exif)
    (drawn.images / '6.png').write_bytes(b'')
    data = read_coco(drawn.coco(change=lambda content: content['annotations'][6].update(bbox=[1, 1, -1, 5])))
    rows = dict(choose(data, drawn.images, ('square', 'bar'), 8))
    assert rows[5].startswith('EXIF')
    assert 'invalid' in rows[3]
    assert 6 not in rows


def test_an_image_with_thousands_of_boxes(drawn: Drawn, tmp_path: Path):
    """Two hundred of them are drawn, within seconds."""
    for number in range(20_000):
        item = dict(id=100 + number, image_id=1, category_id=1, bbox=[number % 50, 5, 6, 6], area=36, iscrowd=0)
        drawn.content['annotations'].append(item)
    data = read_coco(drawn.coco())
    path = tmp_path / 'sheet.jpg'
    draw_sheet(path, [('train', data, drawn.images)], ('square', 'bar'), Resizing((64, 48), keep_ratio=False))
    assert path.is_file()
