"""The figure of docs/performance.md is drawn from its tables."""

from __future__ import annotations

import pytest

from benchmarks import plot

PAGE = """
<!-- predict-r50: begin -->
| predict-r50 | median | faster than mmdet |
| --- | --- | --- |
| mmdet | 2 s | 1.00 × |
| ours | 1 s | 2.00 × |
<!-- predict-r50: end -->
"""


def test_ratios_are_those_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(plot, 'PAGE', tmp_path / 'page.md')
    plot.PAGE.write_text(PAGE)
    assert plot.ratios('predict-r50') == {'ours': 2.0}
    with pytest.raises(SystemExit, match='train-r50'):
        plot.ratios('train-r50')


def test_the_page_has_all_that_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(plot, 'IMAGE', tmp_path / 'performance.png')
    plot.main()
    assert plot.IMAGE.stat().st_size > 5000
