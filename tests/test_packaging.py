"""What a wheel and an editable installation bring; ``setup.py`` runs on a copy of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mmdet_dab.config import config_names
from mmdet_dab.version import __version__
from tests.helpers.paths import ROOT


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('copy')
    for name in ('mmdet_dab', 'configs'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(checkout: Path, kind: str) -> Path:
    """A wheel, as pip builds it; ``kind`` is the name of the hook of PEP 517 or 660."""
    code = f'import sys; from setuptools import build_meta; print(build_meta.{kind}(sys.argv[1]))'
    target = checkout.parent / kind
    target.mkdir()
    done = subprocess.run(
        [sys.executable, '-c', code, str(target)],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob('*.whl')
    return wheel


@pytest.fixture(scope='module')
def wheel(checkout: Path) -> Path:
    return build(checkout, 'build_wheel')


def test_the_wheel_is_small_and_brings_configs_types_licence_and_the_command(wheel: Path):
    assert wheel.stat().st_size < 1e6
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f'mmdet_dab-{__version__}.dist-info'
        assert 'mmdet-dab = mmdet_dab.cli:program' in archive.read(f'{info}/entry_points.txt').decode()
        metadata = archive.read(f'{info}/METADATA').decode()
    assert {f'mmdet_dab/.mim/configs/{name}.py' for name in config_names()} <= names
    assert {'mmdet_dab/py.typed', 'mmdet_dab/.mim/model-index.yml', 'mmdet_dab/.mim/configs/metafile.yml'} <= names
    assert {f'mmdet_dab/explain/page/{name}' for name in ('page.html', 'page.css', 'app.js')} <= names
    assert f'{info}/licenses/LICENSE' in names
    assert not any(name.startswith(('tests/', 'configs/', 'tools/', 'benchmarks/')) for name in names)
    for extra in ('lite', 'convert', 'imagenet', 'export', 'runtime', 'explain', 'docs', 'dev'):
        assert f'Provides-Extra: {extra}\n' in metadata


def test_an_installed_wheel_has_the_configs_that_the_checkout_has(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        'from mmdet_dab.config import config_names, draft_config, CONFIGS; print(CONFIGS, *config_names(), sep="\\n");'
        'assert draft_config("shapes/dab_detr_shapes_5min").cfg.model'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    folder, *names = done.stdout.splitlines()
    assert Path(folder) == tmp_path / 'mmdet_dab/.mim/configs'
    assert tuple(names) == config_names()


def test_an_editable_installation_wins_over_a_folder_named_like_the_package(checkout: Path):
    """It is a line in a .pth file, so that Python looks for packages in the checkout as it does elsewhere.

    With setuptools' default, an import hook, Python takes a folder ``mmdet_dab`` beside a script for the package.
    """
    with zipfile.ZipFile(build(checkout, 'build_editable')) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith('.pth')]
        assert archive.read(path).decode().strip() == str(checkout)
