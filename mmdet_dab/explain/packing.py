"""Numbers for the page: one compressed block, into which its JSON points."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np

#: Arrays start at multiples of this many bytes, as JavaScript's typed arrays want it.
ALIGNMENT = 8
TYPES = {'f4': '<f4', 'u2': '<u2', 'u1': '<u1', 'i2': '<i2'}


class Block:
    """Collects arrays; :meth:`text` is what the page unpacks."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: Any, kind: str) -> dict[str, Any]:
        """Keep an array as ``f4``, ``u2``, ``u1`` or ``i2``, or ``f3``: float32 without the last
        byte, rounded.

        Returns:
            what the page finds it by.
        """
        array = np.ascontiguousarray(array)
        if kind == 'f3':
            words = array.astype('<f4').view('<u4').astype(np.uint64) + 128
            content = b''.join((words >> shift & 255).astype('u1').tobytes() for shift in (24, 16, 8))
        else:
            content = array.astype(TYPES[kind]).tobytes()
        entry = dict(type=kind, shape=list(array.shape), at=self._size)
        content += bytes(-len(content) % ALIGNMENT)
        self._parts.append(content)
        self._size += len(content)
        return entry

    def add_rounded(self, rows: Any) -> dict[str, Any]:
        """Keep (..., S) in 65536 steps between the least and the most of each row.

        An error is at most half a step: 1/131070 of what a row spans.
        """
        rows = np.asarray(rows, np.float64)
        low = rows.min(-1)
        step = (rows.max(-1) - low) / 65535
        counts = (rows - low[..., None]) / np.where(step > 0, step, 1)[..., None]
        return dict(
            steps=self.add(counts.round(), 'u2'), low=self.add(low.ravel(), 'f4'), step=self.add(step.ravel(), 'f4')
        )

    def text(self) -> str:
        """All of it, compressed, in base64."""
        return base64.b64encode(gzip.compress(b''.join(self._parts), 6, mtime=0)).decode('ascii')
