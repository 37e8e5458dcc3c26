"""Damage of an encoded image that decoders do not complain of, or not where it can be heard.

A JPEG has no checksums. Nearly every sequence of bits is a valid one: a decoder fills what a hole
makes of it with nonsense, and complains only if it runs out of data or has some left. What file
systems and downloads leave in a hole looks like no compressed data, though: zeros, another byte
again and again, or text. A PNG has a checksum in every part.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

PNG_START = b'\x89PNG\r\n\x1a\n'
#: Equal bytes in a row, and bytes of text, that compressed data does not have.
LONGEST_RUN, LONGEST_TEXT = 48, 64
#: Zeros in a row that it does not have where their bits are coefficients: a dozen bytes would be
#: twenty equal ones. In 1,325 sound files there were at most five.
LONGEST_ZEROS = 11
#: Markers of frames whose Huffman codes are read here; others are arithmetic or lossless.
BASELINE, PROGRESSIVE = (0xC0, 0xC1), 0xC2


@dataclass
class _Tables:
    """What the segments before a scan said."""

    progressive: bool = False
    codes: dict[tuple[int, int], dict[int, str]] = field(default_factory=dict)
    sampling: dict[int, int] = field(default_factory=dict)


def damage_in(content: bytes) -> str:
    """What is wrong with an encoded image, in words; empty if nothing is to be seen, or if it is
    neither a JPEG nor a PNG.
    """
    if content.startswith(b'\xff\xd8'):
        return _damage_in_jpeg(content)
    if content.startswith(PNG_START):
        return _damage_in_png(content)
    return ''


def _damage_in_png(content: bytes) -> str:
    place = len(PNG_START)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], 'big')
        kind, end = content[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4], 'big'):
            return 'is damaged: a part differs from its checksum'
        if kind == b'IEND':
            return ''
        place = end + 4
    return 'is cut off'


def _damage_in_jpeg(content: bytes) -> str:
    last = 0
    for tables, header, data, end in _scans(content):
        problem = _hole_in_scan(tables, header, data)
        if problem:
            return f'is damaged: {problem}'
        last = end
    return 'is cut off' if last >= len(content) else ''


def _scans(content: bytes) -> Iterator[tuple[_Tables, bytes, bytes, int]]:
    """Of each scan the tables before it, its header, its compressed data and where that ends."""
    tables, place = _Tables(), 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return
        marker = content[place + 1]
        if marker == 0xFF or marker in range(0xD0, 0xD9):
            place += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return  # what cameras write behind the end is no part of the image
        length = int.from_bytes(content[place + 2 : place + 4], 'big')
        segment = content[place + 4 : place + 2 + length]
        place += 2 + length
        try:
            if marker == 0xC4:
                tables.codes.update(_codes(segment))
            elif marker in (*BASELINE, PROGRESSIVE):
                tables.progressive = marker == PROGRESSIVE
                tables.sampling = {
                    segment[at]: (segment[at + 1] >> 4) * (segment[at + 1] & 15) for at in range(6, len(segment) - 2, 3)
                }
            elif marker in range(0xC0, 0xD0) and marker != 0xC8:
                return
            elif marker == 0xDA:
                end = _end_of_scan(content, place)
                yield tables, segment, content[place:end], end
                place = end
        except IndexError:  # a segment that is too short, which decoders say
            return


def _end_of_scan(content: bytes, place: int) -> int:
    """Where the next marker stands that is no part of compressed data."""
    while (place := content.find(b'\xff', place)) >= 0:
        following = content[place + 1 : place + 2]
        if following not in (b'\0', b'\xff') and not (following and 0xD0 <= following[0] <= 0xD7):
            return place
        place += 1
    return len(content)


def _codes(segment: bytes) -> Iterator[tuple[tuple[int, int], dict[int, str]]]:
    """Tables of Huffman codes: (class, number) and the bits of each symbol."""
    place = 0
    while place < len(segment):
        key = segment[place] >> 4, segment[place] & 15
        counts = segment[place + 1 : place + 17]
        place += 17
        code, table = 0, {}
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                table[segment[place]] = f'{code:0{length}b}'
                code, place = code + 1, place + 1
            code <<= 1
        yield key, table


def _hole_in_scan(tables: _Tables, header: bytes, data: bytes) -> str:
    if len(data) <= LONGEST_ZEROS or (tables.progressive and header[-1] >> 4):
        return ''  # a refinement is made of bare bits, which may be all the same
    values = np.frombuffer(data, np.uint8)
    run, value = _longest_run(values)
    if run >= LONGEST_RUN and f'{value:08b}' * 8 not in _plain_area(tables, header):
        return f'its compressed data has a hole of {run:,} equal bytes'
    zeros, _ = _longest_true(values == 0)
    if zeros > LONGEST_ZEROS and _zeros_are_coefficients(tables, header):
        return f'its compressed data has a hole of {zeros:,} zeros'
    printable = (values >= 32) & (values < 127)
    text, start = _longest_true(printable | (values == 10) | (values == 13))
    if text >= LONGEST_TEXT and len(set(data[start : start + text])) >= 16:
        return f'its compressed data has {text:,} bytes of text'
    return ''


def _longest_run(values: np.ndarray) -> tuple[int, int]:
    """Length and value of the longest run of equal bytes."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    lengths = np.diff(starts)
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(values[starts[longest]])


def _longest_true(mask: np.ndarray) -> tuple[int, int]:
    """Length and start of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.view(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(edges[::2][longest])


def _zeros_are_coefficients(tables: _Tables, header: bytes) -> bool:
    """Whether a row of zero bits would be coefficients in a component at least, all of them -1, -3
    or the like, and neither the end of a block nor a brightness that does not change.
    """
    if tables.progressive and header[-3] == 0:
        return False  # brightness alone
    firsts = [next(iter(tables.codes.get((1, header[at + 1] & 15), {0: ''})), 0) for at in range(1, 2 * header[0], 2)]
    # The first code of a table is the one of zeros; the lower half of its symbol, the bits that
    # follow.
    return any(symbol & 15 for symbol in firsts)


def _plain_area(tables: _Tables, header: bytes) -> str:
    """The bits of many blocks without change: no difference to the one before, and its end."""
    bits = ''
    count = header[0]
    for at in range(1, 1 + 2 * count, 2):
        component, numbers = header[at], header[at + 1]
        block = tables.codes.get((0, numbers >> 4), {}).get(0, '')
        if not tables.progressive:
            block += tables.codes.get((1, numbers & 15), {}).get(0, '')
        # A scan of one component has a block at a time.
        bits += block * (tables.sampling.get(component, 1) if count > 1 else 1)
    return bits * (2 + 200 // len(bits)) if bits else ''
