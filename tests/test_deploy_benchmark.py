"""The arithmetic of benchmarks.deploy by hand, and a file through its start-up and its candidate."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import deploy, deploy_plot
from benchmarks.deploy import Case, Form, by_part, floor, header, row
from benchmarks.side_by_side import Measurement, table
from tests.helpers import tiny

RATES = {'float32': 100.0, 'bfloat16': 200.0, 'int8': 400.0}
CASE = Case('deploy-small', 'x', None, (96, 128))


def form(precision: str, file: Path | None = None, **operations: int) -> Form:
    return Form('OpenVINO', precision, lambda: (lambda: None, lambda: None), Counter(operations), file)


def test_floor_by_hand():
    """2 G multiply-adds at 400 G operations a second: 10 ms; 1 G at 200: 10 ms."""
    assert floor(form('int8', int8=2 * 10**9, bfloat16=10**9), RATES) == pytest.approx(0.020)


def test_row_by_hand(tmp_path: Path):
    file = tmp_path / 'model.xml'
    file.write_bytes(b'x' * 1_000_000)
    file.with_suffix('.bin').write_bytes(b'x' * 3_000_000)
    chosen = form('int8', file, int8=2 * 10**9, bfloat16=10**9)
    extra = dict(ap={chosen.name: 0.5}, start={chosen.name: 1.25})
    found = row(chosen, Measurement('', [0.05, 0.04, 0.06], [0.08, 0.09, 0.07]), Measurement('', [0.2]), extra, RATES)
    assert found == ('OpenVINO, int8', '50.0', '40.0 – 60.0', '4.00 ×', '80.0', '40%', '16.67', '0.500', '4.0', '1.2')
    bare = row(
        form('float32', float32=10**9),
        Measurement('', [0.1], [0.2]),
        Measurement('', [0.1], [0.2]),
        dict(ap={}, start={}),
        RATES,
    )
    assert bare[7:] == ('—', '—', '—')


def test_multiply_adds_by_part():
    parts = by_part(tiny.build(), (96, 128))
    assert {'backbone', 'encoder', 'decoder', 'bbox_head'} <= set(parts)
    assert parts['backbone'] > 0


def test_the_figure_is_drawn_from_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [
        row(
            form(precision, **{precision: 10**9}),
            Measurement('', [0.1], [0.2]),
            Measurement('', [0.2]),
            dict(ap={}, start={}),
            RATES,
        )
        for precision in RATES
    ]
    text = table(header(CASE, 'ours'), rows)
    page = ''.join(f'<!-- {name}: begin -->\n{text}\n<!-- {name}: end -->\n' for name in deploy_plot.TABLES)
    monkeypatch.setattr(deploy_plot, 'PAGE', tmp_path / 'page.md')
    deploy_plot.PAGE.write_text(page)
    monkeypatch.setattr(deploy_plot, 'IMAGE', tmp_path / 'deploy.png')
    deploy_plot.main()
    assert deploy_plot.IMAGE.stat().st_size > 5000


def test_rates_of_matrix_products(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deploy, 'MATRIX', 64)
    assert set(deploy.rates(1)) == set(RATES)
