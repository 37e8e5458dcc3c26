"""What a check finds: an error that stops, or a warning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmdet_dab.errors import DataError, plural

#: Places that a message names.
SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One kind of problem with all its places.

    Attributes:
        source: the file or folder.
        what: what is wrong, in words.
        places: where, in words; the first few are shown.
        stops: whether a training run would silently lose by it, or fail later.
        fix: what to do, a sentence without its full stop.
        objects, images: indices of what to leave out to be rid of it; none: leaving out does not
            help.
    """

    source: object
    what: str
    places: Sequence[str] = ()
    stops: bool = False
    fix: str = ''
    objects: Sequence[int] = ()
    images: Sequence[int] = ()

    def __str__(self) -> str:
        more = len(self.places) - SHOWN
        shown = ', '.join(self.places[:SHOWN]) + (f' and {more:,} more' if more > 0 else '')
        where = f' ({shown})' if shown else ''
        return f'{self.source}: {self.what}{where}.' + (f' {self.fix}.' if self.fix else '')


class Places(Sequence[str]):
    """Places whose words are made when they are shown: a million of them take no time.

    Args:
        rows: what to describe.
        words: describes one of them.
    """

    def __init__(self, rows: Sequence[int], words: Callable[[int], str]) -> None:
        self.rows, self.words = rows, words

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self.words(row) for row in self.rows[index]]
        return self.words(self.rows[index])


def are(number: int) -> str:
    """The verb that goes with so many."""
    return 'is' if number == 1 else 'are'


def stop_at_errors(findings: Sequence[Finding]) -> None:
    """Refuse data with an error.

    Raises:
        DataError: the first error, and how many others there are.
    """
    errors = [finding for finding in findings if finding.stops]
    if errors:
        others = f' (And {plural(len(errors) - 1, "other error")}, see above.)' if len(errors) > 1 else ''
        raise DataError(f'{errors[0]}{others}')
