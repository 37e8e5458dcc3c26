"""The README: short, its code runs without preparation, its numbers are those of the performance page."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.helpers import markdown
from tests.helpers.paths import ROOT

README = ROOT / 'README.md'


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_python_runs_in_a_process_of_its_own(demo_folder):
    """As a user would, with nothing imported before; the other blocks run in `test_pages.py`."""
    block = next(block for block in markdown.blocks(README) if block.marker == 'runs' and block.language == 'python')
    done = subprocess.run(
        [sys.executable, '-c', block.text],
        cwd=demo_folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def table(name):
    """Rows of a table of the performance page: label -> cells."""
    page = (ROOT / 'docs' / 'performance.md').read_text()
    text = page.split(f'<!-- {name}: begin -->')[1].split(f'<!-- {name}: end -->')[0]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_speeds_are_those_of_the_performance_page():
    def speed(name, label):
        return float(table(name)[label]['faster than mmdet'].split()[0])

    def memory(name):
        return float(table(name)['ours']['of it'].split()[0])

    row = next(line for line in README.read_text().splitlines() if 'prediction of R50' in line)
    labels = ('ours', 'ours, optimised', 'ours, optimised, bfloat16')
    assert re.findall(r'\d\.\d\d', row) == [f'{speed("predict-r50", label):.2f}' for label in labels]
    row = next(line for line in README.read_text().splitlines() if 'training step' in line)
    expected = [
        value
        for name in ('train-r50-batch-1', 'train-r50-dc5')
        for value in (speed(name, 'ours'), memory(name), speed(name, 'ours, bfloat16'))
    ]
    assert re.findall(r'\d\.\d\d', row) == [f'{value:.2f}' for value in expected]
