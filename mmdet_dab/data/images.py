"""Picture files, looked at cheaply: size, turn and damage without decoding them."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from PIL import Image

SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
#: What OpenCV reads, with which pictures are loaded in training.
FORMATS = ('JPEG', 'MPO', 'PNG', 'BMP', 'DIB', 'TIFF', 'WEBP', 'PPM', 'JPEG2000')
EXIF_ORIENTATION = 274
#: Fault of a picture that is not there.
ABSENT = 'does not exist'
#: Where the end mark of a JPEG is looked for; some cameras write on after it.
TAIL = 4096


@dataclass(frozen=True)
class Header:
    """What the first bytes of a picture say.

    Attributes:
        width, height: as stored, in pixels.
        orientation: 1 for upright; the others turn or mirror the picture when it is loaded (EXIF, tag 274).
        mode: PIL's name for the kind of pixels.
        fault: why it cannot be used, in words; empty if it can.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    mode: str = ''
    fault: str = ''

    @property
    def loaded_size(self) -> tuple[int, int]:
        """Width and height as OpenCV loads it, which obeys the EXIF tag."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(path: Path) -> Header:
    """Open a picture without decoding it; what is wrong with it is in ``fault``."""
    try:
        return _read_header(path.resolve(), path.stat().st_mtime_ns)
    except OSError:
        return Header(fault=ABSENT)


@cache
def _read_header(path: Path, modified: int) -> Header:
    """The same, once for every state of a file: ``modified`` is its time."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of PIL about odd EXIF entries, which do not matter here
            with Image.open(path) as image:
                width, height = image.size
                header = Header(width, height, image.getexif().get(EXIF_ORIENTATION) or 1, image.mode)
                if image.format not in FORMATS:
                    return Header(fault=f'is {image.format}, which OpenCV does not read')
                if _misses_its_end(path, str(image.format)):
                    image.load()
    except Exception as error:  # PIL has many for a damaged file
        return Header(fault=f'cannot be read ({" ".join(str(error).replace(str(path), path.name).split())})')
    return header


def _misses_its_end(path: Path, kind: str) -> bool:
    mark = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}.get(kind)
    if mark is None:
        return False
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return mark not in file.read()


class PictureFolder:
    """A folder of pictures, and those in its folders; what names them is found whatever the case of its suffix.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> dict[str, Path]:
        """Names relative to the folder -> paths, sorted."""
        paths = sorted(path for path in self.folder.rglob('*') if path.suffix.lower() in SUFFIXES)
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self.files:
            found[Path(name).stem.lower()].append(name)
        return found

    def find(self, name: str) -> str | None:
        """The name, relative to the folder, of the picture that a file calls ``name``.

        Other folders before it, another case and another or no suffix are overlooked where only one picture fits.
        """
        name = name.replace('\\', '/')
        if name in self.files:
            return name
        base = Path(name).name.lower()
        fitting = self._by_stem.get(Path(base).stem if Path(base).suffix in SUFFIXES else base, [])
        same = [file for file in fitting if Path(file).name.lower() == base] or fitting
        return same[0] if len(same) == 1 else None

    def size(self, name: str) -> tuple[int, int] | None:
        """Width and height as loaded; None for a picture that cannot be read."""
        header = read_header(self.folder / name)
        return None if header.fault else header.loaded_size


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of files that are the same, byte by byte; only files of the same length are read."""
    by_length = defaultdict(list)
    for path in paths:
        if path.is_file():
            by_length[path.stat().st_size].append(path)
    groups = defaultdict(list)
    for length, candidates in by_length.items():
        if len(candidates) > 1:
            for path in candidates:
                groups[length, _digest(path)].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _digest(path: Path) -> bytes:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()
