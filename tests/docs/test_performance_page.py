"""The figures of the pages on performance are drawn from their tables."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import plot
from tests.helpers import markdown

PAGE = """
<!-- predict-r50: begin -->
| predict-r50 | median | faster than mmdet |
| --- | --- | --- |
| mmdet | 2 s | 1.00 × |
| ours | 1 s | 2.00 × |
<!-- predict-r50: end -->
"""


PAGES = ('performance', 'performance_amd')


def test_ratios_are_those_of_the_table(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    assert plot.ratios('predict-r50', page) == {'ours': 2.0}
    with pytest.raises(SystemExit, match='train-r50'):
        plot.ratios('train-r50', page)


@pytest.mark.parametrize('name', PAGES)
def test_a_page_has_all_that_is_drawn(name, tmp_path):
    copy = shutil.copy(markdown.DOCS / f'{name}.md', tmp_path)
    image = plot.draw(tmp_path / copy)
    assert image == tmp_path / 'images' / f'{name}.png'
    assert image.stat().st_size > 5000
