"""Checks that open image files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks import images as image_checks
from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.data.checks.images import check_images, check_repeated_images, check_unlisted
from mmdet_dab.data.coco import read_coco
from mmdet_dab.data.images import ImageFolder
from tests.helpers.drawn import Drawn


def findings(drawn: Drawn, **values: object) -> list[Finding]:
    """With values of the third image."""
    data = read_coco(drawn.coco(change=lambda content: content['images'][2].update(values)))
    return check_images(data, ImageFolder(drawn.images))


def test_sound_images(drawn: Drawn):
    assert findings(drawn) == []


def test_absent_images(drawn: Drawn):
    (found,) = findings(drawn, file_name='gone.png')
    assert found.stops
    assert list(found.images) == [2]
    assert all(word in str(found) for word in ('1 of 8 images', 'gone.png of id 3', str(drawn.images)))


@pytest.mark.parametrize(
    ('name', 'words'), [('images/2.png', ['{folder}']), ('C:\\x\\2.png', ['2.png']), ('in/2.PNG', ['2.png'])]
)
def test_where_absent_images_may_be(drawn: Drawn, name: str, words: list[str]):
    (found,) = findings(drawn, file_name=name)
    assert all(word.format(folder=drawn.folder) in found.fix for word in words), found.fix


def test_images_in_several_folders_below(drawn: Drawn):
    for name in ('a', 'b'):
        (drawn.images / name).mkdir()
        (drawn.images / name / 'x.png').write_bytes((drawn.images / '0.png').read_bytes())
    (found,) = findings(drawn, file_name='x.png')
    assert f'{drawn.images}/a, {drawn.images}/b' in found.fix


def test_damaged_images_are_named(drawn: Drawn):
    """Empty, cut, HTML, a GIF in disguise, and a hole in the data of a JPEG."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8), (0, 0), 1)
    hole = cv2.imencode('.jpg', noise)[1].tobytes()
    hole = hole[: len(hole) // 2] + bytes(300) + hole[len(hole) // 2 + 300 :]
    for number, content in enumerate((b'', (drawn.images / '1.png').read_bytes()[:60], b'<html>404</html>')):
        (drawn.images / f'{number}.png').write_bytes(content)
    Image.new('RGB', (64, 48)).save(drawn.images / '3.png', format='GIF')
    (drawn.images / '4.png').write_bytes(hole)
    unusable, damaged = findings(drawn)
    assert unusable.stops
    assert list(unusable.images) == [0, 1, 2, 3]
    assert '4 images' in str(unusable)
    assert '0.png of id 1 is empty' in str(unusable)
    assert damaged.stops
    assert list(damaged.images) == [4]
    assert '4.png of id 5' in str(damaged)


def test_of_many_images_some_are_decoded(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    decoded: list[Path] = []
    monkeypatch.setattr(image_checks, 'MOST_DECODED', 3)
    monkeypatch.setattr(image_checks, 'damaged_pixels', lambda paths: decoded.extend(paths) or {})
    assert findings(drawn) == []
    assert [path.name for path in decoded] == ['0.png', '4.png', '7.png']


def test_images_of_another_size(drawn: Drawn):
    (found,) = findings(drawn, width=32)
    assert found.stops
    assert all(word in str(found) for word in ('1 of 8 images', '2.png of id 3: 32×48 annotated, 64×48 loaded'))


def test_deep_images(drawn: Drawn):
    cv2.imwrite(str(drawn.images / '0.png'), np.full((48, 64), 1000, np.uint16))
    (found,) = findings(drawn)
    assert not found.stops
    assert '1 image ' in str(found)
    assert '0.png of id 1' in str(found)


def part(drawn: Drawn, name: str, start: int, stop: int) -> Annotations:
    return read_coco(drawn.part(name, start, stop))


def test_images_of_the_training_in_validation(drawn: Drawn):
    """Image 5 is in both lists; image 7 of validation is a copy of image 0."""
    (drawn.images / '7.png').write_bytes((drawn.images / '0.png').read_bytes())
    train, val = part(drawn, 'train.json', 0, 6), part(drawn, 'val.json', 5, 8)
    (found,) = check_repeated_images((train, drawn.images), (val, drawn.images))
    assert '2 of 3 validation images' in str(found)
    assert '5.png, 7.png' in str(found)


def test_images_that_nobody_lists(drawn: Drawn):
    splits = [part(drawn, 'train.json', 0, 4), part(drawn, 'val.json', 4, 7)]
    (found,) = check_unlisted(splits, ImageFolder(drawn.images))
    assert f'{drawn.images}: 1 of 8 images' in str(found)
    assert '7.png' in str(found)
