"""Pieces of what messages say."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def listed(names: Collection[Any], at_most: int = 8) -> str:
    """The first names, and the number of the others: ``a, b and 1,200 more``; empty where there are none."""
    shown = [str(name) for name in list(names)[:at_most]]
    more = len(names) - len(shown)
    return ', '.join(shown) + (f' and {more:,} more' if more > 0 else '')
