"""What the user can fix, and the words that such messages share. Imports nothing heavy.

A message names the file, key or value first, says what is wrong, and then how to fix it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """The user gave something that cannot work; commands print the message and exit with 2."""


class ConfigError(UserError):
    """A config, one of its keys or an override cannot be used."""


class DataError(UserError):
    """Annotations or images cannot be used."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, must not be read, or does not fit the model."""


class TrainingError(RuntimeError):
    """A training run cannot go on, although its input could be used; commands exit with 1."""


class InstallError(UserError, ImportError):
    """A package that is needed is missing, broken, or of a version that does not fit."""


def listed(names: Iterable[object], at_most: int = 8) -> str:
    """The first names, and the number of the others: ``a, b and 1,200 more``; '' for none."""
    texts = [str(name) for name in names]
    more = len(texts) - at_most
    return ', '.join(texts[:at_most]) + (f' and {more:,} more' if more > 0 else '')


def shortened(name: str, most: int = 60) -> str:
    """The beginning of a long name; to draw 100,000 signs takes ten seconds, and nobody reads them."""
    return name if len(name) <= most else f'{name[: most - 1]}…'


def plural(number: int, noun: str, plural_noun: str | None = None) -> str:
    """A number and its noun: ``1 image``, ``2 images``; ``plural_noun='boxes'`` if irregular."""
    return f'{number:,} {noun if number == 1 else plural_noun or noun + "s"}'


def nearest(name: str, names: Iterable[str], at_most: int = 3) -> list[str]:
    """The names that ``name`` was most likely meant to be, best first; none where all are far."""
    return get_close_matches(name, list(names), n=at_most, cutoff=0.5)


class _Short(reprlib.Repr):
    def repr_int(self, value: int, level: int) -> str:
        try:
            return super().repr_int(value, level)
        except ValueError:  # Python writes numbers of some thousand digits only
            return f'<a number of {value.bit_length():,} bits>'


def shown(value: object) -> str:
    """A value as Python writes it, in one short line, whatever it is.

    ``repr`` of a list that holds itself twice, fifty times over, would never end.
    """
    short = _Short()
    short.maxstring = short.maxother = 50
    short.maxlevel = 3
    return short.repr(value).replace('\n', ' ')[:80]
