"""The analysis tools run inside the test's own process."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.paths import ROOT


def run_main(name: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call ``main`` of a script of ``tools/analysis`` with these arguments; errors come through as they are raised."""
    spec = importlib.util.spec_from_file_location(f'analysis_{name}', ROOT / f'tools/analysis/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
    module.main()
