"""The console command: what it knows, how fast, and what becomes of errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest

from mmdet_dab import cli, commands
from mmdet_dab.errors import InstallError, TrainingError, UserError
from mmdet_dab.version import __version__
from tests.helpers.paths import ROOT

LIGHT = """
import contextlib, io, sys
import mmdet_dab, mmdet_dab.config, mmdet_dab.preflight, mmdet_dab.errors
from mmdet_dab import cli, commands
for arguments in (['--version'], ['--help'], *([name, '--help'] for name in commands.NAMES)):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            cli.main(arguments)
        except SystemExit as end:
            assert end.code == 0, arguments
    assert said.getvalue(), arguments
heavy = {'torch', 'mmcv', 'mmdet', 'mmengine', 'numpy', 'cv2', 'matplotlib', 'scipy'} & set(sys.modules)
assert not heavy, heavy
cli.main(['train', 'dab_detr_r50_50e', '--cfg-options', 'data_root=/nowhere/'])
heavy = {'torch', 'mmcv', 'mmdet'} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(autouse=True)
def _undo(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv('MMDET_DAB_TRACEBACK', raising=False)
    for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.setenv(variable, '0')


def test_help_version_and_missing_data_import_nothing_heavy():
    command = [sys.executable, '-c', LIGHT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert 'error: /nowhere' in done.stderr.splitlines()[-1]


def test_python_m_is_the_same_command():
    command = [sys.executable, '-m', 'mmdet_dab', '--version']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == f'mmdet_dab {__version__}\n'


def test_every_command_says_what_it_does_in_a_line():
    for name in commands.NAMES:
        first = (commands.load(name).__doc__ or '').splitlines()[0]
        assert first.endswith('.'), name
        assert len(first) <= 100, name


def test_every_tool_of_a_checkout_is_a_command():
    tools = list((ROOT / 'tools').rglob('*.py'))
    assert len(tools) >= 8
    for tool in tools:
        called = tool.read_text().split("cli.tool('")[1].split("'")[0]
        assert called in commands.NAMES, tool


def fail_with(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ('error', 'code', 'words'),
    [
        (UserError('x.py: wrong'), 2, ['x.py: wrong']),
        (AssertionError('Caught in worker 0.\nOriginal: failed to load image: a/b.png\n'), 2, ['a/b.png: ']),
        (InstallError('no mmcv'), 2, ['no mmcv']),
        (TrainingError('iteration 3'), 1, ['iteration 3']),
        (URLError('refused'), 2, ['refused', 'model.backbone.init_cfg=None']),
        (ModuleNotFoundError("No module named 'mmcv'", name='mmcv'), 2, ['mmcv', 'pip install']),
        (ImportError('libGL.so.1: cannot open shared object file'), 2, ['libGL', 'opencv-python-headless']),
        (ImportError('numpy.core.multiarray failed to import'), 2, ['numpy', 'pip install']),
        (ModuleNotFoundError("No module named 'pkg_resources'", name='pkg_resources'), 2, ['setuptools<81']),
    ],
)
def test_errors_become_one_message(error: Exception, code: int, words: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.run(lambda: fail_with(error)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')
    for word in words:
        assert word in line


def test_of_several_processes_the_first_says_why_a_training_run_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv('RANK', '1')
    assert cli.run(lambda: fail_with(TrainingError('iteration 3'))) == 1
    assert capsys.readouterr().err == ''


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('MMDET_DAB_TRACEBACK', '1')
    with pytest.raises(UserError, match='wrong'):
        cli.run(lambda: fail_with(UserError('wrong')))


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]):
    assert cli.run(lambda: fail_with(KeyboardInterrupt())) == 130
    assert 'Traceback' not in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_message_that_names_the_file_with_the_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    assert cli.run(lambda: fail_with(ZeroDivisionError('by\nzero'))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = tmp_path.iterdir()
    assert line.startswith('error: unexpected ZeroDivisionError')
    assert 'test_cli.py' in line
    assert str(kept) in line
    assert 'fail_with' in kept.read_text()
    monkeypatch.setenv('MMDET_DAB_TRACEBACK', '1')
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: fail_with(ZeroDivisionError()))


def test_what_the_system_refuses_names_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    for path, work in (
        (tmp_path / 'gone.txt', (tmp_path / 'gone.txt').read_text),
        (tmp_path, tmp_path.read_text),
        (Path('/proc/nowhere'), Path('/proc/nowhere').mkdir),
    ):
        assert cli.run(work) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f'error: {path}: ' in line


@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("can't allocate memory: you tried to allocate 9 bytes")])
def test_a_full_memory_is_no_traceback(error: Exception, capsys: pytest.CaptureFixture[str]):
    assert cli.run(lambda: fail_with(error)) == 2
    assert '--batch-size' in capsys.readouterr().err


def test_output_that_nobody_reads_is_no_error():
    command = f'{sys.executable} -m mmdet_dab describe --list | head -1'
    done = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.stderr == ''


def test_names_that_no_terminal_shows_are_escaped():
    program = 'import sys; from mmdet_dab import cli; sys.exit(cli.main(["train", "x\\udcff.py"]))'
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr


def test_commands_forbid_unrestricted_unpickling(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert cli.run(lambda: None) == 0
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ


def test_an_override_without_a_value(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with pytest.raises(SystemExit):
        cli.main(['train', 'x.py', '--cfg-options', 'work_dir'])
    assert 'KEY=VALUE' in capsys.readouterr().err


#: Options that are a score.
SCORES = [
    ('--score-thr', ['infer', 'a.png', 'c.py', 'w.pth']),
    ('--score-thr', ['figures', 'c.py']),
    ('--threshold', ['run', 'm.onnx', 'a.png']),
    ('--threshold', ['export', 'c.py', 'w.pth', '--out', 'm.onnx']),
    ('--threshold', ['explain', 'c.py', 'w.pth', 'a.png']),
]
NUMBERS = [
    *SCORES,
    ('--minutes', ['new-data', '--images', 'a', '--annotations', 'b', '--out', 'c.py']),
    ('--val-share', ['new-data', '--images', 'a', '--annotations', 'b', '--out', 'c.py']),
]


@pytest.mark.parametrize(
    ('option', 'given', 'value'),
    [
        *((*number, value) for number in NUMBERS for value in ('nan', 'inf', 'x')),
        *((*score, value) for score in SCORES for value in ('-0.1', '1.5')),
    ],
)
def test_a_number_is_finite_and_a_score_is_in_0_to_1(
    option: str, given: list[str], value: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        cli.main([*given, option, value])
    assert ended.value.code == 2
    (*_, line) = capsys.readouterr().err.splitlines()
    assert f'{option}: {value}: ' in line


ENDING = """
import atexit, os, sys
from mmdet_dab import cli

class Last:
    def __del__(self):
        os.abort()  # as a thread of gloo does whose tensor outlives Python

kept = Last()
atexit.register(print, 'tidied up')
print('said')
cli.end(3)
"""


def test_one_of_several_processes_ends_before_python_is_taken_down():
    """Its exit code is that of the command, nothing that it said is lost, and workers are ended."""
    environment = {**os.environ, 'RANK': '1'}
    command = [sys.executable, '-c', ENDING]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 3
    assert done.stdout.split('\n') == ['said', 'tidied up', '']


def test_a_single_process_ends_as_python_does():
    with pytest.raises(SystemExit) as ended:
        cli.end(3)
    assert ended.value.code == 3
