"""Files of images and videos: by which endings they are known, and how those that a user means are
found. Imports nothing heavy.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from mmdet_dab.errors import DataError, UserError

#: Endings of image files that OpenCV reads, in small letters.
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
VIDEO_ENDINGS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv')
#: What file systems, archives and notebooks leave in folders; names that start with a dot as well.
LEFTOVERS = ('__macosx', '@eadir', '$recycle.bin', 'system volume information', 'lost+found')


class MediaFile(NamedTuple):
    """An image or a video that is meant.

    Attributes:
        path: where it is.
        name: the path, relative to the output folder, under which its results are written.
    """

    path: Path
    name: Path

    @property
    def is_video(self) -> bool:
        """By its ending."""
        return self.path.suffix.lower() in VIDEO_ENDINGS


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Regular files with one of the suffixes in a folder and the folders in it, sorted.

    Pipes and devices, which would block or never end, and leftovers such as ``._a.jpg`` are passed
    over. The case of a suffix does not matter.

    Raises:
        DataError: a folder cannot be listed.
    """
    found = []
    for directory, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not is_leftover(name)]
        paths = [Path(directory, name) for name in names if not is_leftover(name)]
        found += [path for path in paths if path.suffix.lower() in suffixes and os.path.isfile(path)]
    return sorted(found)


def is_leftover(name: str) -> bool:
    """Whether no user put a file or folder of this name there."""
    return name.startswith('.') or name.lower() in LEFTOVERS


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f'{error.filename}: the folder cannot be listed ({error.strerror}). Check its permissions.')


def find_media(given: Sequence[str | Path], out: Path | None = None) -> list[MediaFile]:
    """The images and videos that a user means, each once, in the order given.

    A result has the name of its file relative to the folder that was given. Where two would have
    the same name, all are named from the folder that they have in common.

    Args:
        given: files of any ending, folders with their sub-folders, or patterns such as
            ``shots/**/*.png``.
        out: folder that results go to; what an earlier run left in it is passed over, where it
            lies in a folder that was given.

    Raises:
        UserError: one of them does not exist, or names no image and no video.
    """
    found: dict[str, MediaFile] = {}
    for text in given:
        for file in _meant(str(text), out):
            found.setdefault(os.path.abspath(file.path), file)
    files = list(found.values())
    if len({file.name for file in files}) == len(files):
        return files
    names = _from_common_folder([file.path for file in files])
    return [MediaFile(file.path, name) for file, name in zip(files, names, strict=True)]


def find_images(given: Sequence[str | Path]) -> list[str]:
    """The same, where only images will do: their paths; none of none.

    Raises:
        UserError: one of them does not exist, or no image is among them.
    """
    files = [str(file.path) for file in find_media(given) if not file.is_video]
    if given and not files:
        raise UserError(f'{given[0]}: it is a video. Name images.')
    return files


def told_apart(paths: Sequence[str | Path]) -> list[str]:
    """Short names of some files: without folders, or from the folder that they have in common where
    two would have the same name."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else [str(name) for name in _from_common_folder(paths)]


def _from_common_folder(paths: Sequence[str | Path]) -> list[Path]:
    whole = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [Path(os.path.relpath(path, common)) for path in whole]


def _meant(text: str, out: Path | None) -> Iterator[MediaFile]:
    """The files that one argument means; at least one."""
    path, endings = Path(text), (*IMAGE_ENDINGS, *VIDEO_ENDINGS)
    if path.is_file():
        yield MediaFile(path, Path(path.name))
        return
    if path.is_dir():
        base, files = path, files_below(path, endings)
    elif glob.has_magic(text):
        plain = text[: min(text.find(sign) for sign in '*?[' if sign in text)]
        base = Path(os.path.dirname(plain))
        matches = [Path(match) for match in glob.glob(text, recursive=True)]
        known = [file for file in matches if file.suffix.lower() in endings and file.is_file()]
        files = sorted(file for file in known if not any(map(is_leftover, file.relative_to(base).parts)))
    else:
        raise UserError(f'{text} does not exist: name an image, a video, a folder of them or a pattern.')
    if out is not None and not base.resolve().is_relative_to(out.resolve()):
        files = [file for file in files if not file.resolve().is_relative_to(out.resolve())]
    if not files:
        kind = 'the folder holds' if path.is_dir() else 'the pattern matches'
        raise UserError(f'{text}: {kind} no image and no video ({", ".join(endings)}). Name another.')
    for file in files:
        yield MediaFile(file, file.relative_to(base))
