"""Training and validation from one set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmdet_dab.data.formats import read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.split import split_by_list, split_by_share
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn, draw


def test_the_split_is_the_same_every_time_and_keeps_copies_together(tmp_path: Path):
    """20 images, of which 0 to 9 are one and the same: whatever the seed, they are on one side."""
    drawn = draw(tmp_path, 20)
    for number in range(1, 10):
        (drawn.images / f'{number}.png').write_bytes((drawn.images / '0.png').read_bytes())
    data = read(drawn.coco(), 'coco', ImageFolder(drawn.images), None)
    sides = [split_by_share(data, drawn.images, 0.2, seed)[:2] for seed in (0, 0, 1, 2, 3)]
    assert sides[0] == sides[1]
    assert len({tuple(val) for _, val in sides}) > 1
    for train, val in sides:
        assert sorted(train + val) == list(range(20))
        assert len(set(range(10)) & set(val)) in (0, 10)
    backwards = data.select(range(20))
    backwards.images.reverse()
    train, val, _ = split_by_share(backwards, drawn.images, 0.2, 0)
    assert {backwards.images[row]['id'] for row in val} == {data.images[row]['id'] for row in sides[0][1]}


def test_a_rare_class_is_on_both_sides(tmp_path: Path):
    """Two of 20 images have it: of 100 orders, one is taken that parts them."""
    drawn = draw(tmp_path, 20)

    def change(content: dict[str, Any]) -> None:
        content['categories'].append(dict(id=3, name='rare'))
        for row in (10, 30):
            content['annotations'][row]['category_id'] = 3

    data = read(drawn.coco(change=change), 'coco', ImageFolder(drawn.images), None)
    _, val, how = split_by_share(data, drawn.images, 0.2, 0)
    assert len({5, 15} & set(val)) == 1
    assert 'in training only' not in how


def test_one_image_cannot_be_divided(tmp_path: Path):
    drawn = draw(tmp_path, 1)
    data = read(drawn.coco(), 'coco', ImageFolder(drawn.images), None)
    with pytest.raises(DataError, match=r'all\.json: 1 image .*--val'):
        split_by_share(data, drawn.images, 0.2, 0)


def test_a_list_of_validation_images(drawn: Drawn):
    """As VOC (stems, with ±1) and Darknet (paths, also of Windows) write them, in any marked encoding."""
    data = read(drawn.coco(), 'coco', ImageFolder(drawn.images), None)
    listing = drawn.folder / 'val.txt'
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
        listing.write_bytes('3\r\n5  -1\nelsewhere/images/6.png\nD:\\data\\7.png\n\n'.encode(encoding))
        train, val, _ = split_by_list(data, listing)
        assert (train, val) == ([0, 1, 2, 4], [3, 5, 6, 7])


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('77\n', "'77'"),
        ('', 'no images'),
        (''.join(f'{number}.png\n' for number in range(8)), 'all images'),
        ('大'.encode('gbk').decode('latin-1'), 'UTF-8'),
    ],
)
def test_lists_that_do_not_fit(drawn: Drawn, text: str, words: str):
    data = read(drawn.coco(), 'coco', ImageFolder(drawn.images), None)
    listing = drawn.folder / 'val.txt'
    listing.write_bytes(text.encode('latin-1'))
    with pytest.raises(DataError, match=r'val\.txt: ') as refused:
        split_by_list(data, listing)
    assert words in str(refused.value)


def test_a_name_that_two_images_have(drawn: Drawn):
    data = read(drawn.coco(), 'coco', ImageFolder(drawn.images), None)
    data.images[1]['file_name'] = 'a/0.png'
    listing = drawn.folder / 'val.txt'
    listing.write_text('0')
    with pytest.raises(DataError, match="'0' may be 2 images"):
        split_by_list(data, listing)
    listing.write_text('a/0.png')
    assert split_by_list(data, listing)[1] == [1]
