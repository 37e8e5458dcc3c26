"""Freed memory is used again."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from mmdet_dab.engine.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='of glibc')
def test_a_large_map_gets_pages_that_the_process_has_already():
    assert keep_freed_memory()
    torch.ones(2**24)  # 64 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(2**24)
    # Without it, a page each of 4 KB: 49152, or of 2 MB where the system has huge ones.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 24
