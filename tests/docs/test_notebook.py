"""The notebook runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.helpers.markdown import DOCS
from tests.helpers.processes import server

NOTEBOOKS = sorted((DOCS / 'notebooks').glob('*.ipynb'))
by_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)


def code_of(path: Path) -> list[str]:
    """The code cells, which are plain Python."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']


@by_notebook
def test_notebook_is_whole_and_has_no_outputs(path: Path):
    content = json.loads(path.read_text(encoding='utf-8'))
    assert content['nbformat'] == 4
    cells = content['cells']
    assert len({cell['id'] for cell in cells}) == len(cells)
    for cell in cells:
        assert cell['cell_type'] in ('code', 'markdown')
        assert not cell.get('outputs')
        assert cell.get('execution_count') is None
    for number, source in enumerate(code_of(path)):
        compile(source, f'{path.name}, code cell {number}', 'exec')


@pytest.mark.slow
@by_notebook
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path):
    process = server().Process(target=run_cells, args=(str(path), str(tmp_path)))
    process.start()
    process.join(600)
    printed = (tmp_path / 'printed').read_text(errors='replace')
    assert process.exitcode == 0, printed[-3000:]
    out = tmp_path / 'notebook_outputs'
    for name in ('browse/sheet.png', 'curves.png', 'figures/figure_6.png', 'figures/figure_11.png', 'shapes.onnx'):
        assert (out / name).stat().st_size > 5000, name
    assert 'content + position = logits: True' in printed


def run_cells(path: str, folder: str) -> None:
    os.chdir(folder)
    names = {'__name__': '__main__'}
    with open('printed', 'w') as file, redirect_stdout(file), redirect_stderr(file):
        for number, source in enumerate(code_of(Path(path))):
            exec(compile(source, f'code cell {number}', 'exec'), names)
