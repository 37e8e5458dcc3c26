"""Image files: size and orientation by their header, damage by header and by decoding."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmdet_dab.data.encoded import damage_in
from mmdet_dab.errors import DataError
from mmdet_dab.media_files import IMAGE_ENDINGS, files_below
from mmdet_dab.regular_files import MOST_PIXELS

#: What OpenCV reads, with which images are loaded in training.
FORMATS = ('JPEG', 'MPO', 'PNG', 'BMP', 'DIB', 'TIFF', 'WEBP', 'PPM', 'JPEG2000')
EXIF_ORIENTATION = 274
#: Problem of an image that is not there.
ABSENT = 'does not exist'
#: Where the end mark of a JPEG is looked for; some cameras write on after it.
TAIL = 4096
#: Where a point (x, y) of the stored image lies on the loaded one, both in fractions: EXIF's eight
#: orientations.
TURNED: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image say.

    Attributes:
        width, height: as stored, in pixels.
        orientation: 1 for upright; 2 to 8 turn or mirror the image when it is loaded (EXIF, tag
            274).
        mode: PIL's name for the kind of pixels.
        problem: why it cannot be used, in words; empty if it can.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    mode: str = ''
    problem: str = ''

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def loaded_size(self) -> tuple[int, int]:
        """Width and height as OpenCV loads it, which obeys the EXIF orientation."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(path: Path) -> Header:
    """Open an image without decoding it; what is wrong with it is in ``problem``."""
    try:
        if not path.exists():
            return Header(problem=ABSENT)
        if not path.is_file():  # a pipe would block, a device would never end
            return Header(problem='is not a regular file')
        return _read_header(path.resolve(), path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:  # names that no file can have
        return Header(problem=f'cannot be opened ({_one_line(error, path)})')


@cache
def _read_header(path: Path, modified: int) -> Header:
    """The same, once for every state of a file: ``modified`` is its time."""
    if path.stat().st_size == 0:
        return Header(problem='is empty')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of PIL about odd EXIF entries, which do not matter here
            with Image.open(path) as image:
                return _header_of(image, path)
    except Image.DecompressionBombError as error:
        return Header(problem=f'has more than {MOST_PIXELS:,} pixels ({_one_line(error, path)})')
    except Image.UnidentifiedImageError:
        return Header(problem='is not an image')
    except Exception as error:  # PIL has many for a damaged file
        return Header(problem=f'cannot be read ({_one_line(error, path)})')


def _header_of(image: Image.Image, path: Path) -> Header:
    width, height = image.size
    if image.format == 'TIFF':  # PIL turns the size, but tells the orientation as well
        width, height = image.tag_v2.get(256, width), image.tag_v2.get(257, height)  # type: ignore[attr-defined]
    if width * height > MOST_PIXELS:
        return Header(problem=f'has {width} × {height} pixels, more than {MOST_PIXELS:,}: cut it into tiles')
    if image.format not in FORMATS:
        return Header(problem=f'is {image.format}, which OpenCV does not read: save it as PNG or JPEG')
    # Of a PNG without the entry, PIL would decode everything to look behind the pixels.
    exif = {} if image.format == 'PNG' and 'exif' not in image.info else image.getexif()
    orientation = exif.get(EXIF_ORIENTATION, 1)
    if _misses_its_end(path, str(image.format)):
        image.load()
    return Header(width, height, orientation if orientation in TURNED else 1, image.mode)


def _misses_its_end(path: Path, kind: str) -> bool:
    mark = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}.get(kind)
    if mark is None:
        return False
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return mark not in file.read()


def _one_line(error: Exception, path: Path) -> str:
    return ' '.join(str(error).replace(str(path), path.name).split())


def load_image(path: Path) -> Image.Image:
    """What a detector is given of a file, in RGB: upright, and 16 bits as 8, which PIL shows white.

    Raises:
        DataError: it is no image, or a damaged or enormous one.
    """
    problem = read_header(path).problem
    content = b'' if problem else path.read_bytes()
    problem = problem or damage_in(content)
    pixels = None if problem else cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f'{path} {problem or "cannot be decoded"}. Name another file, or copy it again.')
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def damaged_pixels(paths: Iterable[Path]) -> dict[Path, str]:
    """Images that OpenCV decodes in part or not at all, and what it says; the others are left out.

    Decoders fill holes in the data with grey, and complain on the standard error of the process
    only. That is read here. JPEGs are decoded at an eighth of their size, which is faster. Holes
    that no decoder complains of are looked for in the compressed data, see
    :mod:`mmdet_dab.data.encoded`.
    """
    found = {}
    with tempfile.TemporaryFile() as complaints:
        standard_error = os.dup(2)
        os.dup2(complaints.fileno(), 2)
        try:
            for path in paths:
                complaints.seek(0)
                complaints.truncate()
                content = np.fromfile(path, dtype=np.uint8)
                decoded = _decoded(content)
                complaints.seek(0)
                said = complaints.read().decode('utf-8', 'replace').strip().splitlines()
                if decoded is None or any('orrupt' in line or 'remature' in line for line in said):
                    found[path] = said[-1] if said else 'cannot be decoded'
                elif damage := damage_in(content.tobytes()):
                    found[path] = damage
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
    return found


def _decoded(content: np.ndarray) -> np.ndarray | None:
    """The pixels, at an eighth of their size where that is possible; None if there are none."""
    for flag in (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_COLOR):
        try:
            return cv2.imdecode(content, flag) if len(content) else None
        except cv2.error:  # an eighth of less than eight pixels is none
            continue
    return None


class ImageFolder:
    """A folder of images, and those in its folders.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> dict[str, Path]:
        """Names relative to the folder -> paths, sorted."""
        return {path.relative_to(self.folder).as_posix(): path for path in files_below(self.folder, IMAGE_ENDINGS)}

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self.files:
            found[Path(name).stem.lower()].append(name)
        return found

    def find(self, name: str) -> list[str]:
        """Names, relative to the folder, of the images that a file may mean by ``name``.

        Other folders before the name, another case, another suffix or none are overlooked.
        """
        base = name.replace('\\', '/').rsplit('/', 1)[-1]
        stem, suffix = os.path.splitext(base)
        fitting = self._by_stem.get((stem if suffix.lower() in IMAGE_ENDINGS else base).lower(), [])
        for same in (
            [file for file in fitting if Path(file).name == base],
            [file for file in fitting if Path(file).stem == base],
            [file for file in fitting if Path(file).name.lower() == base.lower()],
        ):
            if same:
                return same
        return fitting

    def match(self, name: str, file: Path, root: Path) -> list[str]:
        """The images that an annotation file may mean by ``name``, told apart by its own path.

        Folders of the same name belong together, as in ``labels/train/a.txt`` and
        ``images/train/a.jpg``; an image in a folder that contradicts is not meant.

        Args:
            name: as the file says it.
            file: the annotation file.
            root: the folder of annotations that it lies in.

        Returns:
            one name where it is clear; several where it is not; none where nothing fits.
        """
        name = name.replace('\\', '/')
        if '/' in name and name in self.files:
            return [name]
        below = _folders(file.relative_to(root))
        fitting = [found for found in self.find(name) if _agree(_folders(Path(found)), below)]
        if len(fitting) > 1:
            whole = _folders(Path(os.path.abspath(file)))
            scores = [_same_steps(_folders(Path(os.path.abspath(self.folder / found))), whole) for found in fitting]
            fitting = [found for found, score in zip(fitting, scores, strict=True) if score == max(scores)]
        return [name] if name in fitting else fitting

    def header(self, name: str) -> Header:
        """What the first bytes of an image say."""
        return read_header(self.folder / name)

    def size(self, name: str) -> tuple[int, int] | None:
        """Width and height as loaded; None for an image that cannot be read."""
        header = self.header(name)
        return None if header.problem else header.loaded_size


def _folders(path: Path) -> list[str]:
    """Names of the folders that a file lies in, the nearest first."""
    return list(path.parent.parts)[::-1]


def _same_steps(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders are called the same, from the nearest on."""
    return next((count for count, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two ways down contradict nowhere; one may be longer."""
    return all(first == second for first, second in zip(one, other, strict=False))


def turned_box(box: Sequence[float], size: Sequence[float], header: Header) -> list[float]:
    """A box on the stored pixels as it lies on the loaded image.

    Args:
        box: x y w h, in pixels of an image of ``size``.
        size: width and height of the image that the box was marked on.
        header: of the image file, with its orientation.

    Returns:
        x y w h, in pixels of the image as it is loaded.
    """
    x, y, w, h = (value / size[axis % 2] for axis, value in enumerate(box))
    xs, ys = zip(*(TURNED[header.orientation](*corner) for corner in ((x, y), (x + w, y + h))), strict=True)
    width, height = header.loaded_size
    # Widths that are not positive stay so, to be found by the checks.
    turned_w, turned_h = (h, w) if header.orientation >= 5 else (w, h)
    return [min(xs) * width, min(ys) * height, turned_w * width, turned_h * height]


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of files that are equal byte by byte; only files of the same length are read."""
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
