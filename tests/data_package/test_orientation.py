"""Boxes that were marked on stored pixels, in each format."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_dab.data.checks.images import check_images
from mmdet_dab.data.formats import read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.orientation import on_loaded_images
from tests.helpers.drawn import Drawn, draw, voc, yolo


@pytest.fixture
def oriented(request: pytest.FixtureRequest, tmp_path: Path) -> Drawn:
    """Eight images with the same EXIF orientation, whose boxes were marked on the stored pixels."""
    drawn = draw(tmp_path, 8, '.jpg')
    exif = Image.Exif()
    exif[274] = request.param
    for path in drawn.images.glob('*.jpg'):
        with Image.open(path) as image:
            image.save(path, exif=exif, quality=95)
    return drawn


def red_box(path: Path) -> list[int]:
    """x y w h of what is drawn in the image as it is loaded."""
    loaded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    ys, xs = np.nonzero(loaded[..., 2].astype(int) - loaded[..., 0] > 100)
    return [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]


def enclosing(boxes: np.ndarray) -> list[float]:
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return [*low, *(high - low)]


@pytest.mark.parametrize('oriented', range(1, 9), indirect=True)
@pytest.mark.parametrize('kind', ['coco', 'voc', 'voc without size', 'yolo'])
def test_boxes_turn_with_their_images(oriented: Drawn, kind: str):
    path = {
        'coco': oriented.coco,
        'voc': lambda: voc(oriented),
        'voc without size': lambda: voc(oriented, size=''),
        'yolo': lambda: yolo(oriented),
    }[kind]()
    images = ImageFolder(oriented.images)
    data = on_loaded_images(read(path, kind.split()[0], images, None), images, relative=kind == 'yolo')
    for row, image in enumerate(data.images):
        file = oriented.images / image['file_name']
        assert (image['width'], image['height']) == images.size(image['file_name'])
        assert enclosing(data.boxes[data.image_index == row]) == pytest.approx(red_box(file), abs=2)


@pytest.mark.parametrize('oriented', range(1, 9), indirect=True)
def test_whoever_does_not_say_is_warned_of_every_orientation_but_the_upright_one(oriented: Drawn):
    images = ImageFolder(oriented.images)
    data = read(yolo(oriented), 'yolo', images, None)
    orientation = images.header('0.jpg').orientation
    findings = check_images(data, images)
    assert [finding.stops for finding in findings] == ([] if orientation == 1 else [False])
    for finding in findings:
        assert '8 of 8' in str(finding)
        assert f'orientation {orientation}' in str(finding)
        assert '--boxes-on stored' in str(finding)
    assert not check_images(data, images, oriented=True)


@pytest.mark.parametrize('oriented', range(2, 9), indirect=True)
def test_a_stated_size_tells_what_was_annotated(oriented: Drawn):
    """That of the stored pixels is an error, that of the loaded image is right; a mirrored one does not tell."""
    images = ImageFolder(oriented.images)
    orientation = images.header('0.jpg').orientation
    stored = read(oriented.coco(), 'coco', images, None)
    assert [finding.stops for finding in check_images(stored, images)] == [orientation >= 5]

    def as_loaded(content):
        for image in content['images']:
            image['width'], image['height'] = images.size(image['file_name'])

    loaded = read(oriented.coco(change=as_loaded), 'coco', images, None)
    assert len(check_images(loaded, images)) == (orientation < 5)
    unchanged = on_loaded_images(loaded, images, relative=False).boxes.tolist() == loaded.boxes.tolist()
    assert unchanged == (orientation >= 5)


@pytest.mark.parametrize('oriented', [6], indirect=True)
def test_a_square_image_does_not_tell(oriented: Drawn):
    for path in oriented.images.glob('*.jpg'):
        exif = Image.Exif()
        exif[274] = 6
        Image.new('RGB', (48, 48)).save(path, exif=exif)
    change = lambda content: [image.update(width=48) for image in content['images']]  # noqa: E731
    data = read(oriented.coco(change=change), 'coco', ImageFolder(oriented.images), None)
    (finding,) = check_images(data, ImageFolder(oriented.images))
    assert '--boxes-on' in finding.fix
