"""Tests stand alone: what they share is in tests/helpers, and no test imports a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

FILES = sorted((ROOT / 'tests').rglob('*.py'))


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f'{node.module}.{alias.name}' for alias in node.names} | ({'.'} if node.level else set())
    return names


@pytest.mark.parametrize('file', FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_helpers_are_imported(file: Path):
    wrong = {
        name for name in imported(file) if name.startswith(('tests.', '.')) and not name.startswith('tests.helpers')
    }
    assert not wrong
