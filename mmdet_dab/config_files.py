"""Where configs are, and their names. Imports nothing heavy.

A config is named by its file, or by where it is in a package: ``mmdet::detr/x.py`` of mmdet,
``mmdet_dab::x.py`` of this package, for which ``x`` is enough: ``mix/dn_detr_r50_50e``.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from mmdet_dab.errors import ConfigError, listed, nearest

_PACKAGE = Path(__file__).resolve().parent

#: The configs of this package: a wheel brings them where mmdet has its own, a checkout has them
#: beside the package.
CONFIGS = next(
    (folder for folder in (_PACKAGE / '.mim' / 'configs', _PACKAGE.parent / 'configs') if folder.is_dir()),
    _PACKAGE / '.mim' / 'configs',
)


@functools.cache
def config_names() -> tuple[str, ...]:
    """The names of all configs of this package, such as ``mix/dn_detr_r50_50e``.

    Fragments are none.
    """
    paths = (file.relative_to(CONFIGS) for file in sorted(CONFIGS.rglob('*.py')))
    return tuple(path.with_suffix('').as_posix() for path in paths if '_base_' not in path.parts)


def find_config(name: str | Path) -> Path:
    """The file of a config.

    Args:
        name: a file; ``package::path`` for a config that comes with an installed package; or the
            name of a config of ours, with or without ``.py`` and the folder ``configs/``.

    Raises:
        ConfigError: there is no such config; the message lists the nearest names.
    """
    text = str(name)
    package, separator, path = text.partition('::')
    if separator and package != _PACKAGE.name:
        return _find_in_package(package, path)
    if not separator and Path(text).is_file():
        return Path(text)
    ours = (path if separator else text).removeprefix('configs/').removesuffix('.py')
    file = CONFIGS / f'{ours}.py'
    if ours and not Path(ours).is_absolute() and file.is_file() and file.resolve().is_relative_to(CONFIGS.resolve()):
        return file
    if not separator and Path(text).is_dir():
        raise ConfigError(f'config {text} is a folder: name a file in it')
    where = 'no config' if separator else 'no file and no config'
    raise ConfigError(f'config {text}: there is {where} of this name. {_proposals(ours)}')


def _find_in_package(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"config {package}::{path}: there is no installed package '{package}': name one, or a file")
    folder = Path(spec.submodule_search_locations[0], '.mim', 'configs')
    file = next((found for found in (folder / path, folder / f'{path}.py') if found.is_file()), None)
    if file is not None:
        return file
    names = [found.relative_to(folder).as_posix() for found in folder.rglob('*.py')]
    proposals = nearest(path, names)
    hint = (
        f'Did you mean {listed(f"{package}::{name}" for name in proposals)}?' if proposals else f'They are in {folder}.'
    )
    raise ConfigError(f'config {package}::{path}: {package} has no config of this name. {hint}')


def _proposals(name: str) -> str:
    """The three nearest names; the folders before a name count less than the name itself."""
    by_stem: dict[str, list[str]] = {}
    for known in config_names():
        by_stem.setdefault(Path(known).name, []).append(known)
    found = nearest(name, config_names())
    found += [known for stem in nearest(Path(name).name, by_stem) for known in by_stem[stem]]
    unique = list(dict.fromkeys(found))[:3]
    if not unique:
        return f'`mmdet-dab describe --list` prints all {len(config_names())} names.'
    return f'Did you mean {listed(unique)}?'
