"""Checks of numbers: each error is found, named with file and id, and stops what would silently lower AP."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import check_annotations
from mmdet_dab.data.checks.finding import Finding, stop_at_errors
from mmdet_dab.data.coco import complete, read_coco
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn, draw

Content = dict[str, Any]


def all_boxes(function: Callable[[list[float]], list[float]]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for item in content['annotations']:
            item['bbox'] = function(item['bbox'])

    return change


def image(row: int, **values: Any) -> Callable[[Content], None]:
    return lambda content: content['images'][row].update(values)


def item(row: int, **values: Any) -> Callable[[Content], None]:
    return lambda content: content['annotations'][row].update(values)


def findings(drawn: Drawn, change: Callable[[Content], Any], training: bool = True) -> list[Finding]:
    return check_annotations(complete(read_coco(drawn.coco(change=change)), lambda name: None), training=training)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (image(1, id=1), ['1 repeated image id', 'id 1: 0.png, 1.png']),
        (image(1, file_name='0.png'), ['1 image ', '0.png: ids 1, 2']),
        (item(1, id=1), ['1 repeated annotation id', 'id 1: 2 times']),
        (item(3, category_id=9), ['1 of 16 annotations', 'annotation 4 of 1.png: category 9', '1, 2']),
        (lambda content: [entry.update(image_id=77) for entry in content['annotations']], ['16 of 16', 'image 77']),
        (item(2, bbox=[math.nan, 6, 16, 16]), ['1 of 16 boxes', 'annotation 3 of 1.png: nan 6 16 16']),
        (item(2, bbox=[1, 2, 3]), ['1 of 16 boxes', 'annotation 3 of 1.png: [1, 2, 3]']),
        (item(2, bbox='1 2 3 4'), ['annotation 3 of 1.png']),
        (item(2, bbox=None), ['annotation 3 of 1.png: None']),
        (item(2, bbox=[1, 2, 3, 10**400]), ['annotation 3 of 1.png']),
        (lambda content: content['annotations'][2].pop('bbox'), ['annotation 3 of 1.png']),
        (all_boxes(lambda b: [b[0] + b[2], b[1], -b[2], b[3]]), ['16 of 16 boxes', 'annotation 1']),
        (all_boxes(lambda b: [b[0] + 64, *b[1:]]), ['16 of 16 boxes', 'outside']),
        (all_boxes(lambda b: [b[0] / 64, b[1] / 48, b[2] / 64, b[3] / 48]), ['fractions', 'pixels']),
        (all_boxes(lambda b: [b[0] + 20, b[1] + 18, b[0] + 20 + b[2] / 3, b[1] + 18 + b[3] / 3]), ['x1, y1, x2, y2']),
        (lambda content: content['annotations'].clear(), ['no object']),
        (lambda content: [entry.update(iscrowd=1) for entry in content['annotations']], ['no object']),
    ],
)
def test_errors(drawn: Drawn, change: Callable[[Content], Any], words: list[str]):
    with pytest.raises(DataError) as refused:
        stop_at_errors(findings(drawn, change))
    assert all(word in str(refused.value) for word in ['all.json: ', *words]), refused.value
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize(
    ('change', 'words', 'left_out'),
    [
        (item(2, bbox=[4, 6, 0, 16]), ['1 of 24 boxes', 'annotation 3 of 1.png: 4 6 0 16'], [2]),
        (item(2, bbox=[100, 6, 5, 16]), ['1 of 24 boxes', 'outside'], [2]),
        (item(2, bbox=[4, 6, 0.5, 16]), ['1 of 24 boxes', 'annotation 3 of 1.png: 4 6 0.5 16'], [2]),
        (item(2, bbox=[50, 6, 20, 16]), ['1 of 24 boxes', 'over the border'], []),
        (item(2, image_id=77), ['1 of 24 annotations', 'annotation 3: image 77'], [2]),
        (item(1, bbox=[4, 6, 16, 16], category_id=1), ['1 object ', 'annotation 2 of 0.png'], [1]),
    ],
)
def test_what_costs_little_is_a_warning(
    tmp_path: Path, change: Callable[[Content], Any], words: list[str], left_out: list[int]
):
    """One box in 24 is below the share that stops."""
    (found,) = findings(draw(tmp_path / 'more', 12), change)
    assert not found.stops
    assert list(found.objects) == left_out
    assert all(word in str(found) for word in ['all.json: ', *words]), found


def test_areas_of_zero_in_a_file_as_it_is(drawn: Drawn):
    """mmdet leaves the objects out; the remedy is named."""
    data = read_coco(drawn.coco(change=lambda content: [entry.update(area=0) for entry in content['annotations']]))
    (found,) = check_annotations(data, training=True)
    assert found.stops
    assert '16 of 16 boxes' in found.what
    assert 'new-data' in found.fix


def test_annotation_zero_is_told_of_where_it_is_evaluated(drawn: Drawn):
    assert not findings(drawn, item(0, id=0))
    (found,) = findings(drawn, item(0, id=0), training=False)
    assert not found.stops
    assert 'annotation 0 of 0.png' in str(found)


def test_plurals(drawn: Drawn):
    (one,) = [str(found) for found in findings(drawn, item(1, id=1))]
    (two,) = [str(found) for found in findings(drawn, lambda content: [item(1, id=1)(content), item(3, id=3)(content)])]
    assert '1 repeated annotation id ' in one
    assert '2 repeated annotation ids ' in two


def test_a_million_annotations_take_seconds(tmp_path: Path):
    """Nothing is quadratic, and places are described when they are shown. A tenth of a million here."""
    number = 100_000
    images = [dict(id=row, file_name=f'{row}.jpg', width=640, height=480) for row in range(number // 10)]
    objects = [
        dict(id=row, image_id=row // 10, category_id=1, bbox=[row % 600, 1, 0, 20], area=0, iscrowd=0)
        for row in range(number)
    ]
    data = Annotations(tmp_path, images, objects, [dict(id=1, name='a')])
    (found,) = [one for one in check_annotations(data, training=True) if 'empty' in one.what]
    assert len(found.places) == number
    assert len(str(found)) < 500
    assert np.count_nonzero(data.counted) == number
