"""Image files: what their headers say, damage in the pixels, and names that may mean several images."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_dab.data.images import (
    ABSENT,
    MOST_PIXELS,
    Header,
    ImageFolder,
    damaged_pixels,
    read_header,
    same_content,
    turned_box,
)

RNG = np.random.default_rng(0)
#: A picture that compresses to some kilobytes.
NOISE = cv2.GaussianBlur(RNG.integers(0, 255, (96, 128, 3), np.uint8), (0, 0), 2)


def encoded(suffix: str) -> bytearray:
    return bytearray(cv2.imencode(suffix, NOISE)[1].tobytes())


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (b'', 'is empty'),
        (b'<html><body>404</body></html>', 'is not an image'),
        (bytes(encoded('.jpg')[:400]), 'cannot be read'),
        (bytes(encoded('.png')[:2000]), 'cannot be read'),
        (bytes(encoded('.jpg')[:-300]), 'cannot be read'),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, problem: str):
    (tmp_path / 'a.jpg').write_bytes(content)
    assert read_header(tmp_path / 'a.jpg').problem.startswith(problem)


def test_sound_and_absent_files(tmp_path: Path):
    (tmp_path / 'a.jpg').write_bytes(encoded('.jpg'))
    assert read_header(tmp_path / 'a.jpg') == Header(128, 96, 1, 'RGB')
    assert read_header(tmp_path / 'gone.jpg').problem == ABSENT
    assert read_header(tmp_path / 'a\0b.jpg').problem == ABSENT
    assert 'cannot be opened' in read_header(tmp_path / ('a' * 300 + '.jpg')).problem


def test_pipes_and_devices_are_never_opened(tmp_path: Path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'zero.jpg').symlink_to('/dev/zero')
    for name in ('pipe.jpg', 'zero.jpg'):
        assert read_header(tmp_path / name).problem == 'is not a regular file'
    assert ImageFolder(tmp_path).files == {}


def png(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0')) + chunk(b'IEND', b'')


@pytest.mark.parametrize(('width', 'height'), [(50_000, 50_000), (MOST_PIXELS // 1000 + 1, 1000)])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path, width: int, height: int):
    (tmp_path / 'bomb.png').write_bytes(png(width, height))
    assert 'pixels' in read_header(tmp_path / 'bomb.png').problem


def test_holes_in_the_data_are_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Zeros, as a failed copy leaves them; the header and the end are sound."""
    paths = []
    for suffix in ('.jpg', '.png'):
        content = encoded(suffix)
        (tmp_path / f'sound{suffix}').write_bytes(content)
        content[len(content) // 2 : len(content) // 2 + 500] = bytes(500)
        (tmp_path / f'hole{suffix}').write_bytes(content)
        paths += [tmp_path / f'sound{suffix}', tmp_path / f'hole{suffix}']
    assert not read_header(tmp_path / 'hole.jpg').problem
    assert [path.stem for path in damaged_pixels(paths)] == ['hole', 'hole']
    assert capfd.readouterr().err == '', 'what decoders say of damage is told with the name of the file'


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif'])
def test_a_turned_box_lies_where_the_object_is_loaded(tmp_path: Path, orientation: int, suffix: str):
    """A red rectangle is marked on the stored pixels, and looked for in what OpenCV loads."""
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[8:16, 8:32] = 255, 0, 0
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f'a{suffix}'
    Image.fromarray(stored).save(path, exif=exif, **({'quality': 95} if suffix == '.jpg' else {}))
    header = read_header(path)
    assert header.orientation == orientation
    loaded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert loaded.shape[1::-1] == header.loaded_size
    ys, xs = np.nonzero(loaded[..., 2] > 128)
    box = turned_box([8, 8, 24, 8], header.stored_size, header)
    assert box == pytest.approx([xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()], abs=1e-9)


def folder(tmp_path: Path, *names: str) -> ImageFolder:
    for name in names:
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'images' / name).write_bytes(b'')
    return ImageFolder(tmp_path / 'images')


@pytest.mark.parametrize(
    ('names', 'name', 'expected'),
    [
        (('a.jpg', 'b.jpg'), 'a', ['a.jpg']),
        (('a.JPG',), 'a.jpg', ['a.JPG']),
        (('a.png',), 'C:\\other\\a.jpg', ['a.png']),
        (('a.jpg', 'A.jpg'), 'A', ['A.jpg']),
        (('a.jpg', 'a.png'), 'a.png', ['a.png']),
        (('a.jpg', 'a.png'), 'a', ['a.jpg', 'a.png']),
        (('x.v2.jpg', 'x.jpg'), 'x.v2', ['x.v2.jpg']),
        (('a.jpg',), 'b', []),
    ],
)
def test_images_that_a_name_may_mean(tmp_path: Path, names: tuple[str, ...], name: str, expected: list[str]):
    assert folder(tmp_path, *names).find(name) == expected


@pytest.mark.parametrize(
    ('names', 'file', 'expected'),
    [
        (('with/0.jpg', 'without/0.jpg'), 'labels/with/0.txt', ['with/0.jpg']),
        (('without/0.jpg',), 'labels/with/0.txt', []),
        (('0.jpg',), 'labels/with/0.txt', ['0.jpg']),
        (('with/0.jpg',), 'labels/0.txt', ['with/0.jpg']),
        (('a/0.jpg', 'b/0.jpg'), 'labels/0.txt', ['a/0.jpg', 'b/0.jpg']),
        (('0.jpg', 'b/0.jpg'), 'labels/b/0.txt', ['b/0.jpg']),
        (('x/train/0.jpg', 'x/val/0.jpg'), 'labels/train/0.txt', ['x/train/0.jpg']),
    ],
)
def test_folders_of_the_same_name_belong_together(
    tmp_path: Path, names: tuple[str, ...], file: str, expected: list[str]
):
    images = folder(tmp_path, *names)
    path = tmp_path / file
    assert images.match('0', path, tmp_path / 'labels') == expected


def test_the_labels_of_one_folder_belong_to_the_images_of_that_name(tmp_path: Path):
    images = folder(tmp_path, 'with/0.jpg', 'without/0.jpg')
    assert images.match('0', tmp_path / 'labels/with/0.txt', tmp_path / 'labels/with') == ['with/0.jpg']


def test_equal_files(tmp_path: Path):
    for name, content in (('a', b'12'), ('b', b'12'), ('c', b'34'), ('d', b'1')):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in ('a', 'b', 'c', 'd', 'gone')]
    assert same_content(paths) == [[tmp_path / 'a', tmp_path / 'b']]
