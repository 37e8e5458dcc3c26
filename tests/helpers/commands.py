"""Tools, run as a user does or within the test's own process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.paths import ROOT


def run_tool(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool as a user does, in a process of its own and from another folder than the repository's."""
    program = ['bash'] if name.endswith('.sh') else [sys.executable]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    environment.pop('MMDET_DAB_TRACEBACK', None)
    command = [*program, str(ROOT / 'tools' / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def load_tool(name: str) -> ModuleType:
    """The module of a script in ``tools``, e.g. ``train`` or ``analysis/describe``."""
    spec = importlib.util.spec_from_file_location(f'tool_{Path(name).name}', ROOT / 'tools' / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def run_main(name: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call ``main`` of a script in ``tools/analysis``; errors come through as they are raised."""
    tool = load_tool(f'analysis/{name}')
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
    tool.main()
