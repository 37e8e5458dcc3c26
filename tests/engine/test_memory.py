"""Freed memory is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Prints how many pages each of 20 maps of 64 MB got from the system.
PAGES = """
import resource
import torch
from mmdet_dab.engine.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

assert keep_freed_memory()
for _ in range(20):
    before = faults()
    torch.ones(2**24)
    print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='of glibc')
def test_a_large_map_gets_pages_that_the_process_has_already():
    """In a process of its own, whose heap no other test has cut in pieces."""
    found = subprocess.run([sys.executable, '-c', PAGES], capture_output=True, text=True, check=True).stdout
    # Without it every map gets a page each of 4 KB, 16384, or of 2 MB where the system has huge ones.
    assert min(map(int, found.split())) < 24
