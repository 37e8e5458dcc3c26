"""Damaged and hostile images are told from sound ones, before and while they are decoded."""

from __future__ import annotations

import contextlib
import io
import random
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.hostile import images
from mmdet_dab.data.encoded import damage_in
from mmdet_dab.data.images import damaged_pixels, read_header
from mmdet_dab.deploy.preprocessing import read_image
from mmdet_dab.errors import DataError


def test_every_image(tmp_path: Path):
    wrong, tried = [], 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, odd in enumerate(images.odd_images()):
        if 'megapixels' in odd.what:
            continue
        tried += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / odd.name
        try:
            odd.write(path)
        except (OSError, ValueError):
            continue
        started = time.process_time()
        problem = read_header(path).problem or damaged_pixels([path]).get(path, '')
        with contextlib.suppress(DataError):
            read_image(path)
        if bool(problem) != (odd.usable == images.UNUSABLE) and odd.usable != images.OPEN:
            wrong.append(f'{odd.what}: {problem or "passes"}')
        if '\n' in problem or time.process_time() - started > 5:
            wrong.append(f'{odd.what}: {problem}, {time.process_time() - started:.1f} s')
    assert not wrong, '\n'.join(wrong)
    assert tried > 90
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes


def jpeg(image: np.ndarray, mode: str = 'RGB', **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, 'JPEG', **options)
    return buffer.getvalue()


def scene() -> np.ndarray:
    """Something of a photograph: slopes, edges, and noise."""
    y, x = np.mgrid[:240, :320]
    image = np.stack([x * 0.7, y, (x + y) / 3], axis=-1) + np.random.default_rng(0).normal(0, 6, (240, 320, 3))
    image[60:120, 80:200] += 60
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('fill', [b'\0', b'\x55', b'<p>504 Gateway Time-out, nginx</p>'], ids=['zeros', 'U', 'text'])
@pytest.mark.parametrize('length', [12, 64, 512, 2000])
def test_a_hole_is_found_wherever_it_is(fill: bytes, length: int):
    content = jpeg(scene())
    if length < 64 and fill != b'\0':
        pytest.skip('compressed data may be like that')
    start, draw = content.index(b'\xff\xda') + 20, random.Random(0)
    assert not damage_in(content)
    for _ in range(20):
        place = draw.randrange(start, len(content) - length - 2)
        assert damage_in(content[:place] + (fill * length)[:length] + content[place + length :])


PLAIN = np.full((480, 640, 3), 255, np.uint8)
BOARD = np.repeat(((np.indices((480, 640)).sum(0) // 8 % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize(
    'options',
    [{}, {'optimize': True}, {'progressive': True}, {'quality': 1}, {'subsampling': 0, 'quality': 98}],
    ids=lambda options: ' '.join(options) or 'usual',
)
def test_sound_ones_have_no_hole(mode: str, options: dict):
    """Plain areas are runs of equal bytes where the codes are made for the image."""
    for image in (PLAIN, PLAIN // 2, BOARD, scene(), np.vstack([PLAIN, scene().repeat(2, 1)])):
        assert not damage_in(jpeg(image, mode, **options))


def test_a_jpeg_that_is_none_is_left_to_the_decoder():
    draw = random.Random(0)
    content = jpeg(scene())
    for _ in range(300):
        start = draw.randrange(2, 700)
        damage_in(content[:start] + draw.randbytes(draw.randrange(1, 60)) + content[start + draw.randrange(60) :])
    assert damage_in(content[:-700]) == 'is cut off'
    assert not damage_in(b'\xff\xd8')
    assert not damage_in(b'GIF89a')
