"""Holes in the data of a JPEG that decoders do not complain of.

Nearly every sequence of bits is a valid one: a decoder fills what a hole makes of it with nonsense,
and complains only if it runs out of data or has some left. What file systems and downloads leave in
a hole looks like no compressed data, though: zeros or another byte again and again, text, or the
same sector twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

#: Equal bytes in a row, and bytes of text, that compressed data does not have.
LONGEST_RUN, LONGEST_TEXT = 48, 64
#: What disks write at once; with fewer different bytes it may be a plain area.
SECTOR, VARIED = 512, 48
#: Markers of frames whose Huffman codes are read here; others are arithmetic or lossless.
BASELINE, PROGRESSIVE = (0xC0, 0xC1), 0xC2


@dataclass
class _Tables:
    """What the segments before a scan said."""

    progressive: bool = False
    codes: dict[tuple[int, int], dict[int, str]] = field(default_factory=dict)
    sampling: dict[int, int] = field(default_factory=dict)


def hole_in(content: bytes) -> str:
    """What is wrong with the compressed data of a JPEG, in words; empty if nothing is to be seen."""
    for tables, header, data in _scans(content):
        problem = _hole_in_scan(tables, header, data)
        if problem:
            return problem
    return ''


def _scans(content: bytes) -> Iterator[tuple[_Tables, bytes, bytes]]:
    """Of each scan the tables before it, its header and its compressed data."""
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
                yield tables, segment, content[place:end]
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
    if len(data) < LONGEST_RUN or (tables.progressive and header[-1] >> 4):
        return ''  # a refinement is made of bare bits, which may be all the same
    values = np.frombuffer(data, np.uint8)
    run, value = _longest_run(values)
    if run >= LONGEST_RUN and f'{value:08b}' * 8 not in _plain_area(tables, header):
        return f'a hole of {run:,} equal bytes in the compressed data'
    printable = (values >= 32) & (values < 127)
    text, start = _longest_true(printable | (values == 10) | (values == 13))
    if text >= LONGEST_TEXT and len(set(data[start : start + text])) >= 16:
        return f'{text:,} bytes of text in the compressed data'
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
