"""Drawn images for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.drawn import Drawn, draw


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Eight images with two objects each, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return draw(tmp_path)
