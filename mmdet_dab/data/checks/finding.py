"""What a check finds: a fault that stops, or a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmdet_dab.errors import DataError, listed

#: Places that a message names.
SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One kind of fault with all its places.

    Attributes:
        source: the file or folder.
        what: the fault in words.
        places: where, in words; the first few are shown.
        stops: whether a training would silently lose by it, or fail later.
        mend: what to do.
        objects, images: indices of what to leave out to be rid of it; none: leaving out does not help.
    """

    source: object
    what: str
    places: Sequence[str] = ()
    stops: bool = False
    mend: str = ''
    objects: Sequence[int] = ()
    images: Sequence[int] = ()

    def __str__(self) -> str:
        where = f' ({listed(self.places, SHOWN)})' if self.places else ''
        return f'{self.source}: {self.what}{where}' + (f': {self.mend}' if self.mend else '')


def stop_at_faults(findings: Sequence[Finding]) -> None:
    """Refuse data with a fault.

    Raises:
        DataError: the first fault, and how many others there are.
    """
    faults = [finding for finding in findings if finding.stops]
    if faults:
        others = f' (and {len(faults) - 1} other fault{"s" * (len(faults) > 2)}, see above)' if len(faults) > 1 else ''
        raise DataError(f'{faults[0]}{others}')
