"""Commands, run as a user does or within the test's own process."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmdet_dab import cli, commands
from tests.helpers.paths import ROOT
from tests.helpers.processes import server

#: Seconds of the clock that only a hang takes. A command of two processes takes half a minute with
#: a load of three jobs for each core; a machine that is paused for minutes takes more than 300.
LIMIT = 900


def run_tool(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of ``tools`` as a user does, from another folder than the repository's."""
    program = ['bash'] if name.endswith('.sh') else [sys.executable]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    environment.pop('MMDET_DAB_TRACEBACK', None)
    command = [*program, str(ROOT / 'tools' / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)


def run_command(name: str, *arguments: object, cwd: Path, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, without the seconds in which a fresh Python imports mmdet."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    environment.pop('MMDET_DAB_TRACEBACK', None)
    command = [name, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        process = server().Process(target=_command, args=(command, str(cwd), environment, folder))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        output, error = ((Path(folder) / name).read_text(errors='replace') for name in ('stdout', 'stderr'))
    return subprocess.CompletedProcess(command, process.exitcode, output, error)


def _command(command: list[str], cwd: str, environment: dict[str, str], folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, name in ((1, 'stdout'), (2, 'stderr')):
        file = open(Path(folder) / name, 'w', buffering=1)  # noqa: SIM115  (open until the process ends)
        os.dup2(file.fileno(), number)
        setattr(sys, name, file)
    sys.exit(cli.main(command))


def call(name: str, *arguments: object) -> None:
    """Run a command in this process; errors come through as they are raised."""
    module = commands.load(name)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    module.run(parser.parse_args([str(argument) for argument in arguments]))


class Commands:
    """Runs commands in this process, with the exit codes and messages of the console command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd
        monkeypatch.setattr(sys, 'path', list(sys.path))
        monkeypatch.delenv('MMDET_DAB_TRACEBACK', raising=False)
        for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
            monkeypatch.setenv(variable, '0')  # so that what the command sets is undone

    def __call__(self, *arguments: object) -> str:
        """What it prints on stdout and stderr; it must succeed."""
        self.capfd.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        read = self.capfd.readouterr()
        assert code == 0, read.err
        return read.out + read.err

    def error(self, *arguments: object, code: int = 2) -> str:
        """The message that it ends with, which is the last line."""
        self.capfd.readouterr()
        assert cli.main([str(argument) for argument in arguments]) == code
        error = self.capfd.readouterr().err
        assert 'Traceback' not in error
        line = error.splitlines()[-1]
        assert line.startswith('error: ')
        return line
