"""Where a written config finds the data: the dataset's folder, and what lies in it or elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataPaths:
    """Paths as they stand in a config; folders end with a slash.

    Attributes:
        root: the dataset's folder.
        train_annotations, train_images, val_annotations, val_images: ``(True, path)`` below the
            root, or ``(False, path)`` elsewhere.
    """

    root: str
    train_annotations: tuple[bool, str]
    train_images: tuple[bool, str]
    val_annotations: tuple[bool, str]
    val_images: tuple[bool, str]


def data_paths(
    train: tuple[Path, Path], val: tuple[Path, Path], sources: Sequence[Path], *, absolute: bool
) -> DataPaths:
    """Paths that stay right when data and config move together.

    What lies below the current folder is named from there, links by their own name. Elsewhere paths
    are from there, too, unless ``absolute``.

    Args:
        train: annotation file to train on and image folder.
        val: the same.
        sources: annotations as the user gave them.
        absolute: the user named the data by whole paths.
    """
    given = [_whole(path) for path in (train[1], val[1], *sources)]
    root = _dataset_folder(given)

    def below(path: Path, slash: str = '') -> tuple[bool, str]:
        whole = _whole(path)
        if whole in given and whole.is_relative_to(root):  # converted files do not move with the data
            inner = whole.relative_to(root).as_posix()
            return True, '' if inner == '.' else inner + slash
        return False, _shown(whole, absolute) + slash

    return DataPaths(
        f'{_shown(root, absolute).rstrip("/")}/',
        below(train[0]),
        below(train[1], '/'),
        below(val[0]),
        below(val[1], '/'),
    )


def _whole(path: Path) -> Path:
    return Path(os.path.abspath(path))  # a link keeps the name that the user knows


def _dataset_folder(paths: Sequence[Path]) -> Path:
    """The folder that holds the images and annotations and little else.

    Args:
        paths: folder of the training images, then all else.
    """
    images = paths[0]
    together = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    return next(folder for folder in (together, images.parent, images) if folder == images or not _holds_all(folder))


def _holds_all(folder: Path) -> bool:
    """Whether it holds far more than a dataset: all of a user, say, or the current folder."""
    everything = (Path(folder.anchor), _whole(Path(tempfile.gettempdir())), Path.home())
    return folder in everything or folder in Path.cwd().parents


def _shown(path: Path, absolute: bool) -> str:
    if path.is_relative_to(Path.cwd()) or not absolute:
        return Path(os.path.relpath(path)).as_posix()
    return path.as_posix()


def way_from(here: Path, there: Path) -> str:
    """The way from a folder to another one; the whole path where they have nothing in common."""
    together = Path(os.path.commonpath([here, there]))
    return (there if together == Path(together.anchor) else Path(os.path.relpath(there, here))).as_posix()
