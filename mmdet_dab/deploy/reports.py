"""OpenVINO and NNCF report their use to their makers when they are imported. Here they do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_reports() -> Iterator[None]:
    """Import them in here: within a continuous integration, which ``CI=true`` says, they are
    silent, and stay so."""
    before = os.environ.get('CI')
    os.environ['CI'] = 'true'
    try:
        yield
    finally:
        if before is None:
            del os.environ['CI']
        else:
            os.environ['CI'] = before
