"""Memory that a process keeps for its next tensors."""

from __future__ import annotations

import ctypes
import sys

#: Of ``malloc.h``: from which size on a block is mapped by itself, and goes back to the system when
#: it is freed; and how much free memory at the end of the heap goes back.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = 2**30


def keep_freed_memory() -> bool:
    """Let up to 1 GB of freed memory be used again by this process, of whatever size the blocks.

    By default glibc gives blocks above 32 MB back. Every map of a large image is such a block, and
    the system clears its pages anew for each.

    Returns:
        whether it was done; without glibc it is not.
    """
    if sys.platform != 'linux':
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, KEPT) and mallopt(TRIM_THRESHOLD, KEPT))
