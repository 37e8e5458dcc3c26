"""Hostile, damaged and unusual images."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

#: Whether an image can be used: it can, it cannot, or it depends on the decoders.
USABLE, UNUSABLE, OPEN = 'usable', 'unusable', 'open'


#: Names that files can have.
GOOD_NAMES = (
    'with blank.png',
    'UPPER.PNG',
    'ünïcode 画像.png',
    'quote\'".png',
    'dollar$HOME.png',
    '{{ fileDirname }}.png',
    'percent%s.png',
    'line\nend.png',
    'x' * 240 + '.png',
)


@dataclass(frozen=True)
class OddImage:
    """An image file: what it is, its name, how it is written, and whether it can be used."""

    what: str
    name: str
    write: Callable[[Path], object]
    usable: str


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 2, more: bytes = b'') -> bytes:
    """A PNG of given chunks."""
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + more + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')


def drawn() -> np.ndarray:
    """(64, 64, 3) the image that is changed."""
    image = np.full((64, 64, 3), 90, np.uint8)
    image[10:40, 20:50] = (200, 30, 30)
    image += np.random.default_rng(0).integers(0, 20, image.shape, dtype=np.uint8)
    return image


def encoded(kind: str, mode: str = 'RGB', **options: object) -> bytes:
    """The drawn image in one of Pillow's formats."""
    buffer = io.BytesIO()
    Image.fromarray(drawn()).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def odd_images() -> Iterator[OddImage]:
    """All of them."""
    yield from _usable()
    yield from _damaged()
    yield from _bombs()
    yield from _no_files()


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _usable() -> Iterator[OddImage]:
    for what, name, data in (
        ('a JPEG', 'odd.jpg', encoded('JPEG')),
        ('a progressive JPEG', 'odd.jpg', encoded('JPEG', progressive=True)),
        ('a grey JPEG', 'odd.jpg', encoded('JPEG', 'L')),
        ('a JPEG in CMYK', 'odd.jpg', encoded('JPEG', 'CMYK')),
        ('a PNG called .jpg', 'odd.jpg', encoded('PNG')),
        ('a JPEG called .png', 'odd.png', encoded('JPEG')),
        ('a PNG with a palette', 'odd.png', encoded('PNG', 'P')),
        ('a grey PNG', 'odd.png', encoded('PNG', 'L')),
        ('a PNG of one bit', 'odd.png', encoded('PNG', '1')),
        ('a PNG with alpha', 'odd.png', encoded('PNG', 'RGBA')),
        ('a grey PNG with alpha', 'odd.png', encoded('PNG', 'LA')),
        ('a BMP', 'odd.bmp', encoded('BMP')),
        ('a TIFF', 'odd.tif', encoded('TIFF')),
        ('a WebP', 'odd.webp', encoded('WEBP')),
        ('a PPM', 'odd.ppm', encoded('PPM')),
        ('bytes behind a JPEG', 'odd.jpg', encoded('JPEG') + bytes(3000)),
    ):
        yield OddImage(what, name, _bytes(data), USABLE)
    for name in GOOD_NAMES:
        yield OddImage(f'the name {name[:30]!r}', name, _bytes(encoded('PNG')), USABLE)
    for name in (
        'a\\b.png',
        '-option.png',
        os.fsdecode(b'no\xff utf.png'),
        '.hidden.png',
        '._mac.png',
        '%(message)s.png',
    ):
        yield OddImage(f'the name {name!r}', name, _bytes(encoded('PNG')), OPEN)
    exif = Image.Exif()
    for orientation in (0, 6, 9, 65535):
        exif[274] = orientation
        yield OddImage(f'orientation {orientation}', 'odd.jpg', _bytes(encoded('JPEG', exif=exif)), USABLE)
    for what, size in (('of one pixel', (1, 1)), ('of one row', (1, 3000)), ('of one column', (3000, 1))):
        data = cv2.imencode('.png', np.zeros((*size, 3), np.uint8))[1].tobytes()
        yield OddImage(f'an image {what}', 'odd.png', _bytes(data), OPEN)


def _damaged() -> Iterator[OddImage]:
    draw = random.Random(0)
    jpeg, picture = encoded('JPEG'), encoded('PNG')
    for kind, data, name in (('JPEG', jpeg, 'odd.jpg'), ('PNG', picture, 'odd.png')):
        for share in (0.1, 0.5, 0.9):
            cut = data[: int(share * len(data))]
            yield OddImage(f'a {kind} cut at {share:.0%}', name, _bytes(cut), UNUSABLE)
        start = len(data) // 2
        for fill in (b'\0', b'\xff', b'<html></html>'):
            hole = data[:start] + (fill * 300)[:300] + data[start + 300 :]
            yield OddImage(f'a {kind} with a hole of {fill[:6]!r}', name, _bytes(hole), UNUSABLE)
    for what, data in (
        ('nothing', b''),
        ('HTML', b'<!DOCTYPE html><html>404 Not Found</html>'),
        ('text', b'image\n' * 100),
        ('zeros', bytes(5000)),
        ('noise', draw.randbytes(5000)),
        ('a pointer of Git LFS', b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n'),
        ('SVG with an entity', b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'),
        ('PDF', b'%PDF-1.4\n%%EOF'),
        ('a RIFF of nothing', b'RIFF\x04\0\0\0WEBP'),
        ('a header of BMP', b'BM' + bytes(52)),
        ('a header of GIF', b'GIF89a\x40\0\x40\0'),
        ('HEIC', b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'),
        ('JPEG with an end at once', b'\xff\xd8\xff\xd9'),
        ('PNG without pixels', b'\x89PNG\r\n\x1a\n' + chunk(b'IEND', b'')),
        ('PNG with a wrong checksum', picture[:40] + b'x' + picture[41:]),
        ('PNG of no size', png(0, 0, zlib.compress(b''))),
        ('a pickle', b'\x80\x04cposix\nsystem\n(S"true"\ntR.'),
    ):
        yield OddImage(
            f'{what} in an image file', 'odd.png' if 'JPEG' not in what else 'odd.jpg', _bytes(data), UNUSABLE
        )
    for what, name, data in (
        ('a GIF', 'odd.gif', encoded('GIF')),
        ('a GIF called .png', 'odd.png', encoded('GIF')),
        ('JPEG 2000 called .png', 'odd.png', encoded('JPEG2000')),
        ('an ICO called .png', 'odd.png', encoded('ICO')),
        ('a TIFF of floats', 'odd.tif', _tiff_of_floats()),
        ('a TIFF of 16 bits', 'odd.tif', _grey16('TIFF')),
        ('a PNG of 16 bits', 'odd.png', _grey16('PNG')),
        ('Radiance HDR called .png', 'odd.png', b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 64\n' + bytes(100)),
    ):
        yield OddImage(what, name, _bytes(data), OPEN)


def _tiff_of_floats() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(buffer, 'TIFF')
    return buffer.getvalue()


def _grey16(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawn()[..., 0].astype(np.uint16) * 200).save(buffer, kind)
    return buffer.getvalue()


def _bombs() -> Iterator[OddImage]:
    """Small files that claim to be large."""
    yield OddImage('a PNG that claims 65535²', 'odd.png', _bytes(png(65535, 65535, zlib.compress(b'x'))), UNUSABLE)
    yield OddImage('a PNG that claims 2³¹', 'odd.png', _bytes(png(2**31 - 1, 2**31 - 1, zlib.compress(b'x'))), UNUSABLE)
    rows = zlib.compress(bytes(30_000 * (30_000 // 8 + 1)), 9)
    yield OddImage('a PNG of 30,000² bits', 'odd.png', _bytes(png(30_000, 30_000, rows, 1, 0)), UNUSABLE)
    text = chunk(b'zTXt', b'Comment\0\0' + zlib.compress(bytes(1 << 28), 9))
    yield OddImage('a PNG with 256 MB of text', 'odd.png', lambda path: path.write_bytes(_with_text(text)), OPEN)
    profile = chunk(b'iCCP', b'icc\0\0' + zlib.compress(bytes(1 << 28), 9))
    yield OddImage(
        'a PNG with a profile of 256 MB', 'odd.png', lambda path: path.write_bytes(_with_text(profile)), OPEN
    )
    jpeg = bytearray(encoded('JPEG'))
    place = jpeg.index(b'\xff\xc0') + 5
    jpeg[place : place + 4] = b'\xff\xff\xff\xff'
    yield OddImage('a JPEG that claims 65535²', 'odd.jpg', _bytes(bytes(jpeg)), UNUSABLE)
    frames = encoded('GIF', 'P')
    body = frames[frames.index(b',') : -1]
    yield OddImage('a GIF of 20,000 frames', 'odd.gif', _bytes(frames[:-1] + body * 5000 + b';'), OPEN)
    yield OddImage('a GIF that claims 65535²', 'odd.gif', _bytes(b'GIF89a\xff\xff\xff\xff' + frames[10:]), OPEN)
    yield OddImage('a TIFF that claims 10⁹ rows', 'odd.tif', _bytes(_tiff(100_000, 1_000_000_000)), UNUSABLE)
    yield OddImage('a TIFF of 10,000 pages', 'odd.tif', _bytes(_pages(10_000)), OPEN)
    yield OddImage('a TIFF whose pages go round', 'odd.tif', _bytes(_round()), OPEN)
    bmp = bytearray(encoded('BMP'))
    for what, width, height in (('that claims 10⁵', 100_000, 100_000), ('of negative height', 64, -64),
                                ('of negative width', -64, 64), ('of the lowest height', 64, -(2**31))):  # fmt: skip
        bmp[18:26] = struct.pack('<ii', width, height)
        yield OddImage(f'a BMP {what}', 'odd.bmp', _bytes(bytes(bmp)), OPEN)
    yield OddImage('a PPM that claims 10⁵', 'odd.ppm', _bytes(b'P6 100000 100000 255\n' + bytes(100)), UNUSABLE)
    yield OddImage('a PGM that claims 10⁹', 'odd.pgm', _bytes(b'P5 1000000000 1000000000 255\n'), UNUSABLE)
    yield OddImage(
        'a PGM of comments', 'odd.pgm', _bytes(b'P5\n' + b'#\n' * 1_000_000 + b'64 64 255\n' + bytes(4096)), OPEN
    )
    yield OddImage(
        'a PNG of 1,000,000 × 1', 'odd.png', _bytes(png(1_000_000, 1, zlib.compress(bytes(3_000_001)))), OPEN
    )
    pixels = cv2.imencode('.png', np.zeros((16_000, 11_000), np.uint8))[1].tobytes()
    yield OddImage('a black PNG of 176 megapixels', 'odd.png', _bytes(pixels), OPEN)


def _with_text(text: bytes) -> bytes:
    sound = encoded('PNG')
    return sound[:33] + text + sound[33:]


def _tiff(width: int, height: int) -> bytes:
    buffer = bytearray(encoded('TIFF'))
    start = struct.unpack_from('<I', buffer, 4)[0]
    for number in range(struct.unpack_from('<H', buffer, start)[0]):
        place = start + 2 + 12 * number
        tag = struct.unpack_from('<H', buffer, place)[0]
        if tag in (256, 257):
            struct.pack_into('<HII', buffer, place + 2, 4, 1, width if tag == 256 else height)
    return bytes(buffer)


def _pages(number: int) -> bytes:
    """A directory after the other, all of the same pixels."""
    data = bytearray(encoded('TIFF'))
    start = struct.unpack_from('<I', data, 4)[0]
    length = 2 + 12 * struct.unpack_from('<H', data, start)[0] + 4
    page = bytes(data[start : start + length])
    struct.pack_into('<I', data, start + length - 4, len(data))
    for index in range(number):
        following = len(data) + length if index + 1 < number else 0
        data += page[:-4] + struct.pack('<I', following)
    return bytes(data)


def _round() -> bytes:
    data = bytearray(encoded('TIFF'))
    start = struct.unpack_from('<I', data, 4)[0]
    length = 2 + 12 * struct.unpack_from('<H', data, start)[0] + 4
    struct.pack_into('<I', data, start + length - 4, start)
    return bytes(data)


def _no_files() -> Iterator[OddImage]:
    def listen(path: Path) -> None:
        folder = os.open(path.parent, os.O_RDONLY)
        try:  # the name of a socket must be short
            with socket.socket(socket.AF_UNIX) as found:
                found.bind(f'/proc/self/fd/{folder}/{path.name}')
        finally:
            os.close(folder)

    yield OddImage('a pipe', 'odd.png', os.mkfifo, UNUSABLE)
    yield OddImage('a device without end', 'odd.png', lambda path: path.symlink_to('/dev/zero'), UNUSABLE)
    yield OddImage('a device without content', 'odd.png', lambda path: path.symlink_to('/dev/null'), UNUSABLE)
    yield OddImage('a socket', 'odd.png', listen, UNUSABLE)
    yield OddImage('a folder', 'odd.png', lambda path: path.mkdir(), UNUSABLE)
    yield OddImage('a link to nothing', 'odd.png', lambda path: path.symlink_to('gone.png'), UNUSABLE)
    yield OddImage('a link to itself', 'odd.png', lambda path: path.symlink_to(path.name), UNUSABLE)
    yield OddImage('a link to a secret', 'odd.png', lambda path: path.symlink_to('/etc/passwd'), UNUSABLE)
