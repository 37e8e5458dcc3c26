"""The stack: stand-in for the compiled mmcv, versions, and what torch may read."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmdet_dab import compat
from mmdet_dab.errors import InstallError
from tests.helpers.paths import ROOT

LITE = not compat.has_compiled_operations()


# --- Imports

IMPORTS = """
import json, os, sys, warnings
before = set(os.environ)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import mmdet_dab
    light = not {'torch', 'mmengine', 'mmcv', 'mmdet', 'numpy'} & set(sys.modules)
    import mmcv.ops, mmdet.apis, mmdet.engine, mmdet.evaluation, mmdet.models
    from mmdet.registry import MODELS
    type_name = MODELS.get('ComposedDETR').__module__
    mmdet_dab.models, mmdet_dab.hooks, mmdet_dab.optimize_for_inference
variables = [name for name in os.environ if name.startswith('TORCH_FORCE') and name not in before]
warned = [(warning.filename, str(warning.message)) for warning in caught]
print(json.dumps(dict(light=light, type_name=type_name, variables=variables, warnings=warned)))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    # Python 3.12 shows what it finds in mmdet's docstrings, each time where it keeps no compiled files.
    command = [sys.executable, '-W', 'ignore:invalid escape sequence', '-c', code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope='module')
def fresh_import() -> subprocess.CompletedProcess[str]:
    return python(IMPORTS)


def told(fresh_import: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return json.loads(fresh_import.stdout.splitlines()[-1])


def test_ordinary_imports_of_mmdet_work_after_ours(fresh_import: subprocess.CompletedProcess[str]):
    assert fresh_import.returncode == 0, fresh_import.stderr


def test_import_imports_nothing_heavy(fresh_import: subprocess.CompletedProcess[str]):
    assert told(fresh_import)['light']


def test_mmdets_registry_knows_our_parts_after_an_import(fresh_import: subprocess.CompletedProcess[str]):
    assert told(fresh_import)['type_name'] == 'mmdet_dab.models.detector'


def test_import_shows_no_warning(fresh_import: subprocess.CompletedProcess[str]):
    lines = fresh_import.stderr.splitlines()
    # onedl-mmdetection warns of a package that it could use; a second line shows the code.
    assert not lines or ('faster_coco_eval is not installed' in lines[0] and len(lines) == 2)


def test_import_raises_no_hidden_warning_but_those_of_other_packages(
    fresh_import: subprocess.CompletedProcess[str],
):
    known = (
        'invalid escape sequence',  # two docstrings of mmdet, where Python keeps no compiled files
        '`torch.jit.script` is deprecated',  # torch, of its own use of it
        '`torch.jit.interface` is deprecated',
        '``MultiScaleDeformableAttention`` has been moved',  # mmcv, of its own import
        'faster_coco_eval is not installed',  # onedl-mmdetection
    )
    ours = str(ROOT / 'mmdet_dab')
    warned = told(fresh_import)['warnings']
    assert [(file, text) for file, text in warned if file.startswith(ours) or not text.startswith(known)] == []


def test_import_leaves_what_torch_may_load_to_the_program(fresh_import: subprocess.CompletedProcess[str]):
    assert told(fresh_import)['variables'] == []


LATE = """
import torch, mmdet.registry, mmengine.config, mmengine.logging
from mmengine.registry import init_default_scope
init_default_scope('mmdet')
{asked_before}
import mmdet_dab
from mmengine.registry import MODELS
assert MODELS.get('mmdet_dab.ComposedDETR')
with MODELS.switch_scope_and_registry(None) as registry:
    assert registry.get('ComposedDETR').__module__ == 'mmdet_dab.models.detector'
from mmengine.logging import HistoryBuffer
assert HistoryBuffer in torch.serialization.get_safe_globals()
from mmengine.config.utils import MODULE2PACKAGE
assert 'mmdet_dab' in MODULE2PACKAGE
"""


@pytest.mark.parametrize('asked_before', ['', 'mmdet.registry.MODELS._imported = True'])
def test_an_import_after_the_others_is_not_too_late(asked_before: str):
    """Also after a registry of mmdet has been asked for a part, and has imported its own."""
    done = python(LATE.format(asked_before=asked_before))
    assert done.returncode == 0, done.stderr


def test_torch_reads_checkpoints_of_mmengine_when_it_is_imported_after_us(tmp_path: Path):
    path = saved({'loss': history()}, tmp_path / 'hub.pth')
    done = python(f"import mmdet_dab, torch; print(torch.load({str(path)!r}, weights_only=True)['loss'].mean())")
    assert done.stdout == '1.0\n', done.stderr


# --- The stand-in


@pytest.mark.skipif(not LITE, reason='a compiled mmcv is installed: its operations work')
def test_compiled_operations_say_what_to_install_when_they_are_called():
    from mmcv.ops import MultiScaleDeformableAttention, nms

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(RuntimeError, match=r"'nms' was called, but only mmcv-lite .* `pip install mmcv==2\.1\.0`"):
        nms(boxes, torch.ones(1), 0.5)
    assert MultiScaleDeformableAttention(embed_dims=32, num_heads=4).num_points == 4
    function = sys.modules['mmcv._ext'].ms_deform_attn_forward
    assert function.__name__ == 'ms_deform_attn_forward'
    with pytest.raises(RuntimeError, match='ms_deform_attn_forward'):
        function()


@pytest.mark.skipif(not LITE, reason='a compiled mmcv is installed')
def test_the_stand_in_fools_nobody_who_looks_a_module_over():
    """Such as ``inspect``: it has no made-up attributes."""
    assert not hasattr(sys.modules['mmcv._ext'], '__file__')


def test_a_compiled_module_comes_before_the_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import mmcv

    (tmp_path / '_ext.py').write_text('')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    if LITE:
        assert compat.has_compiled_operations()
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)


def test_the_stand_in_is_offered_once():
    before = list(sys.meta_path)
    compat.install_ext_stand_in()
    assert sys.meta_path == before


# --- Versions


def check_fake(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> None:
    """Check a package `fakestack` with this source against the bounds 2.4.0 to 3.0."""
    (folder / 'fakestack.py').write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, 'fakestack', raising=False)
    compat.check_versions({'fakestack': ('2.4.0', '3.0', 'pip install fakestack==2.9')})


@pytest.mark.parametrize('version', ['2.4.0', '2.4', '2.13.0+cpu', '2.10.1', '2.4.0rc2', '2.99.0.post1'])
def test_versions_within_the_bounds_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str):
    check_fake(monkeypatch, tmp_path, f'__version__ = {version!r}')


@pytest.mark.parametrize('version', ['2.3.9', '1.13.1+cu117', '3.0', '3.0.0rc1', '10.0', 'unknown'])
def test_versions_beyond_them_are_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
):
    with pytest.raises(ImportError) as refusal:
        check_fake(monkeypatch, tmp_path, f'__version__ = {version!r}')
    assert str(refusal.value) == (
        f'mmdet_dab works with fakestack >= 2.4.0, < 3.0, but {version} is installed: pip install fakestack==2.9'
    )


def test_a_missing_package_is_named_with_the_command():
    with pytest.raises(ImportError, match='needs no_such_stack, which is not installed: pip install it'):
        compat.check_versions({'no_such_stack': ('1.0', '2.0', 'pip install it')})


def test_a_package_that_refuses_its_neighbours_is_an_import_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ImportError, match=r'fakestack does not accept .* \(MMCV==9 is used\): pip install'):
        check_fake(monkeypatch, tmp_path, "raise AssertionError('MMCV==9 is used')")


def test_the_installed_stack_is_within_its_bounds():
    compat.check_versions()


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (ImportError('mmdet_dab needs mmcv, which is not installed: pip install it'), ['mmcv', 'pip install it']),
        (AttributeError("module 'numpy' has no attribute 'bool8'"), ['numpy', 'pip install']),
    ],
)
def test_a_broken_stack_is_one_message(monkeypatch: pytest.MonkeyPatch, error: Exception, words: list[str]):
    def fail() -> None:
        raise error

    monkeypatch.setattr(compat, 'check_versions', fail)
    with pytest.raises(InstallError) as refusal:
        compat.import_stack()
    for word in words:
        assert word in str(refusal.value)


def test_a_checkout_whose_environment_is_not_active_says_how_to_activate_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / '.venv').mkdir()
    monkeypatch.setattr(compat, '__file__', str(tmp_path / 'mmdet_dab/compat.py'))
    error = ModuleNotFoundError("No module named 'torch'", name='torch')
    assert f'source {tmp_path}/.venv/bin/activate' in str(compat.install_error(error))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / '.venv'))
    assert 'activate' not in str(compat.install_error(error))


# --- What torch may read


@pytest.fixture(autouse=True)
def _as_after_import():
    """onedl-mmengine takes types off torch's list again with its first loading, which other tests may have done."""
    compat.allow_mmengine_checkpoints()


def saved(value: object, path: Path) -> Path:
    torch.save(value, path)
    return path


def history() -> HistoryBuffer:
    buffer = HistoryBuffer()
    buffer.update(1.5, 1)
    buffer.update(2.5, 3)
    return buffer


def test_history_buffers_of_mmengine_come_back(tmp_path: Path):
    value = {'loss': history(), 'resumed': HistoryBuffer([1.0, 2.0], [1, 2]), 'eta': np.float64(3.5)}
    read = torch.load(saved(value, tmp_path / 'hub.pth'), weights_only=True)
    assert read['loss'].data[0].tolist() == [1.5, 2.5]
    assert read['loss'].data[1].tolist() == [1, 3]
    assert read['loss'].statistics('mean') == 1.0
    assert read['resumed'].statistics('max') == 2.0
    assert read['eta'] == 3.5


@pytest.mark.parametrize('spelling', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_files_of_numpy_1_and_of_numpy_2_are_read(tmp_path: Path, spelling: bytes):
    path = saved({'loss': history()}, tmp_path / 'now.pth')
    other = tmp_path / 'other.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, 'w') as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith('data.pkl'):
                assert b'core.multiarray' in content
                content = content.replace(b'numpy._core.', b'numpy.core.')
                content = content.replace(b'numpy.core.multiarray', spelling)
            target.writestr(name, content)
    assert torch.load(other, weights_only=True)['loss'].mean() == 1.0


class Fetch:
    """Pickles as a call of ``getattr``."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self):
        return getattr, self.arguments


def test_getattr_fetches_the_statistics(tmp_path: Path):
    path = saved(Fetch(HistoryBuffer, 'mean'), tmp_path / 'fetch.pth')
    assert torch.load(path, weights_only=True) is HistoryBuffer.mean


@pytest.mark.parametrize('name', ['__init__', 'update', '__dict__', '__class__'])
def test_getattr_fetches_nothing_else_of_a_history_buffer(tmp_path: Path, name: str):
    path = saved(Fetch(HistoryBuffer, name), tmp_path / 'fetch.pth')
    with pytest.raises(Exception, match=rf"GLOBAL builtins\.getattr was asked for '{name}'"):
        torch.load(path, weights_only=True)


def test_getattr_does_not_reach_into_other_types(tmp_path: Path):
    path = saved({'reached': Fetch(np.ndarray, 'mean')}, tmp_path / 'fetch.pth')
    with pytest.raises(Exception, match=r"GLOBAL builtins\.getattr was asked for 'mean' of <class 'numpy\.ndarray'>"):
        torch.load(path, weights_only=True)


def test_the_list_of_allowed_types_is_no_longer_than_needed():
    """Each entry is named by a checkpoint that mmengine writes today, or by its numpy 1 spelling."""
    entries = compat.mmengine_checkpoint_types()
    names = {entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__qualname__}' for entry in entries}
    assert names == {
        'mmengine.logging.history_buffer.HistoryBuffer',
        'builtins.getattr',
        'numpy.ndarray',
        'numpy.dtype',
        'numpy.dtypes.Float64DType',
        'numpy.dtypes.Int64DType',
        'numpy._core.multiarray._reconstruct',
        'numpy._core.multiarray.scalar',
        'numpy.core.multiarray._reconstruct',
        'numpy.core.multiarray.scalar',
    }
