"""Wrong arguments of every command end in one message and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile.arguments import wrong_arguments
from benchmarks.hostile.task import draw
from mmdet_dab import cli

#: Those of which most are found only when parts are built.
LONG = ('train', 'new-data')


@pytest.mark.parametrize(
    ('commands', 'least'),
    [
        pytest.param(('train',), 70, marks=pytest.mark.slow),
        pytest.param(('new-data',), 20, marks=pytest.mark.slow),
        (None, 100),
    ],
    ids=['train', 'new-data', 'others'],
)
def test_every_call(
    commands: tuple[str, ...] | None,
    least: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    task = draw(tmp_path / 'task')
    task.checkpoint.write_bytes(b'PK')  # each call is refused before it matters, or because of it
    (tmp_path / 'given').mkdir()
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.delenv('MMDET_DAB_TRACEBACK', raising=False)
    for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.setenv(variable, '0')
    wrong, tried = [], 0
    for call in wrong_arguments(task, tmp_path / 'given'):
        is_wanted = call.command in commands if commands else call.command not in LONG
        if not is_wanted:
            continue
        tried += 1
        given = [call.command] * bool(call.command) + [str(argument) for argument in call.arguments]
        try:
            code: object = cli.main(given)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            code = f'{type(error).__name__}: {error}'
        lines = [line for line in capfd.readouterr().err.splitlines() if 'error: ' in line]
        if code != 2 or len(lines) != 1 or 'error: unexpected' in lines[0]:
            wrong.append(f'{" ".join(given)[-150:]}: {code}, {lines[-1:]}')
    assert not wrong, '\n'.join(wrong)
    assert tried >= least
