"""Numbers of a dataset, by hand."""

from __future__ import annotations

import pytest

from mmdet_dab.data.formats import read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.statistics import Resizing, measure
from tests.helpers.drawn import Drawn


def test_statistics_by_hand(drawn: Drawn):
    """Two objects an image, √(16·16) = 16 and √(28·8) = 14.97 pixels; in 32 × 24, half of it."""
    data = read(drawn.coco(), 'coco', ImageFolder(drawn.images), None)
    one = measure(data, ('square', 'bar'))
    assert one.typical_size() == (64, 48)
    assert one.counts.tolist() == [2] * 8
    assert one.per_class.tolist() == one.images_per_class.tolist() == [8, 8]
    assert sorted(set(one.object_sizes().round(2))) == [14.97, 16]
    assert sorted(set(one.object_sizes(Resizing((32, 32), keep_ratio=True)).round(2))) == [7.48, 8]
    # Squeezed to 16 × 48, widths are a quarter and heights are kept: half again.
    assert sorted(set(one.object_sizes(Resizing((16, 48), keep_ratio=False)).round(2))) == [7.48, 8]
    assert measure(data, ('bar',)).relative_size() == pytest.approx((28 / 64, 8 / 48))


def test_boxes_count_as_far_as_they_lie_in_their_images(drawn: Drawn):
    """56 to 76 wide in an image of 64 is 8; a box outside, a crowd and 1e300 beside it are not in the way."""

    def change(content):
        content['annotations'] = content['annotations'][:4]
        boxes = ([56, 6, 20, 16], [70, 6, 20, 16], [0, 0, 1e300, 1e300], [4, 6, 16, 16])
        for item, box in zip(content['annotations'], boxes, strict=True):
            item['bbox'] = box
        content['annotations'][3]['iscrowd'] = 1

    one = measure(read(drawn.coco(change=change), 'coco', ImageFolder(drawn.images), None), ('square', 'bar'))
    assert one.objects.tolist() == [[8, 16, 64, 48], [64, 48, 64, 48]]
    assert one.ignored == 1
