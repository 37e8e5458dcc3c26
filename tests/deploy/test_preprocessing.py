"""What a service feeds an exported detector is what the config's test pipeline feeds it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from PIL import Image

from mmdet_dab.deploy import preprocessing
from mmdet_dab.deploy.metadata import Metadata
from mmdet_dab.errors import DataError

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def metadata(resize: str = 'keep ratio', kind: str = 'float32', divisor: int = 1) -> Metadata:
    return Metadata(
        classes=('a',),
        palette=((1, 2, 3),),
        resize=resize,
        scale=(213, 128),
        mean=tuple(NORMALISE['mean']),
        std=tuple(NORMALISE['std']),
        channels='rgb',
        pad_divisor=divisor,
        input=kind,
        max_detections=10,
        threshold=0.3,
        precision='float32',
        float_parts=(),
        config='x.py',
        weights_sha256='0' * 64,
        project='0',
    )


@pytest.fixture(params=['landscape.jpg', 'portrait.png', 'turned.jpg', 'grey.png', 'tiny.png'])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An image with edges and noise, in the ways that cameras and programs write them."""
    height, width = {'portrait.png': (301, 177), 'tiny.png': (9, 5)}.get(request.param, (187, 263))
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[height // 3 : height // 2] = 250
    image = Image.fromarray(pixels)
    options = {}
    if request.param == 'turned.jpg':
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        options = dict(exif=exif)
    if request.param == 'grey.png':
        image = image.convert('L')
    image.save(tmp_path / request.param, **options)
    return tmp_path / request.param


@pytest.mark.parametrize(('resize', 'divisor'), [('keep ratio', 1), ('stretch', 1), ('keep ratio', 32), ('none', 1)])
def test_equals_the_test_pipeline(path: Path, resize: str, divisor: int):
    steps = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs', meta_keys=('img_shape',))]
    if resize != 'none':
        steps.insert(1, dict(type='Resize', scale=(213, 128), keep_ratio=resize == 'keep ratio'))
    packed = Compose([TRANSFORMS.build(step) for step in steps])(dict(img_path=str(path)))
    preprocess = MODELS.build(dict(type='DetDataPreprocessor', bgr_to_rgb=True, pad_size_divisor=divisor, **NORMALISE))
    expected = preprocess(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))

    batch = preprocessing.prepare([preprocessing.read_image(path)], metadata(resize, divisor=divisor))

    assert batch.valid_sizes.tolist() == [list(packed['data_samples'].img_shape)]
    np.testing.assert_allclose(batch.images, expected['inputs'].numpy(), rtol=0, atol=1e-6)


def test_images_of_different_sizes_are_padded_right_and_below():
    random = np.random.default_rng(0)
    images = [random.integers(1, 256, shape, dtype=np.uint8) for shape in ((100, 200, 3), (200, 100, 3))]
    batch = preprocessing.prepare(images, metadata(kind='uint8'))
    assert batch.images.dtype == np.uint8
    assert batch.images.shape == (2, 3, 213, 213)
    assert batch.valid_sizes.tolist() == [[107, 213], [213, 107]]
    assert batch.images[0, :, :107].min() > 0
    assert not batch.images[0, :, 107:].any()
    assert not batch.images[1, :, :, 107:].any()


@pytest.mark.parametrize(('height', 'width'), [(64, 96), (301, 177), (33, 500)])
def test_resizing_without_opencv_is_off_by_a_level_at_most(monkeypatch: pytest.MonkeyPatch, height: int, width: int):
    image = np.random.default_rng(1).integers(0, 256, (187, 263, 3), dtype=np.uint8)
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    monkeypatch.setattr(preprocessing, 'cv2', None)
    found = preprocessing.resized(image, height, width)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_reading_without_opencv_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch, path: Path):
    expected = preprocessing.read_image(path)
    monkeypatch.setattr(preprocessing, 'cv2', None)
    found = preprocessing.read_image(path)
    assert found.shape == expected.shape
    # Two decoders of JPEG round differently.
    assert np.abs(found.astype(int) - expected).mean() <= (1 if path.suffix == '.jpg' else 0)


@pytest.mark.parametrize('content', [b'', b'<html></html>', b'\xff\xd8\xff\xe0 cut short'])
@pytest.mark.parametrize('opencv', [True, False])
def test_a_file_that_is_no_image_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, opencv: bool
):
    if not opencv:
        monkeypatch.setattr(preprocessing, 'cv2', None)
    file = tmp_path / 'broken.jpg'
    file.write_bytes(content)
    with pytest.raises(DataError, match=r'broken\.jpg'):
        preprocessing.read_image(file)
    with pytest.raises(DataError, match=r'missing\.jpg'):
        preprocessing.read_image(tmp_path / 'missing.jpg')


@pytest.mark.parametrize('shape', [(4, 5, 4), (4,), (0, 5, 3), (1, 4, 5, 3)])
def test_an_array_that_is_no_image_is_refused(shape: tuple[int, ...]):
    with pytest.raises(DataError, match='uint8'):
        preprocessing.as_image(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(DataError, match='float64'):
        preprocessing.as_image(np.zeros((4, 5, 3)))


def test_a_grey_array_becomes_three_channels():
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert (preprocessing.as_image(grey) == grey[..., None]).all()
