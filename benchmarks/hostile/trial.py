"""One case: a command in a forked process, and what became of it."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Limits of a case: seconds, and bytes beyond those of the process with its libraries.
SECONDS, MEMORY = 20, 1 << 30
#: Exit code of a child whose command ended in an exception.
RAISED = 70
#: How a message of the commands begins, and how the one for what nobody foresaw does.
MESSAGE, UNFORESEEN = re.compile(r'^(mmdet-dab.*: )?error: '), 'error: unexpected '
VERDICTS = ('right', 'wrong', 'traceback', 'worse')
#: Exit codes that are right, by what is expected of a case. ``partly`` is done but for what is
#: named; ``named`` is that of what has nothing else to do, or refused.
CODES = {'done': (0,), 'refused': (2,), 'either': (0, 2), 'partly': (1,), 'named': (1, 2), 'open': (0, 1, 2)}


@dataclass(frozen=True)
class Case:
    """One input to one tool.

    Attributes:
        tool: the command, or the function, that gets it.
        name: of the input.
        work: what runs in the child; returns its exit code.
        names: what a message must name, one of them; empty: anything.
        expect: a key of :data:`CODES`.
        harm: says what harm was done, empty if none; called in the parent, after the child.
    """

    tool: str
    name: str
    work: Callable[[], int]
    names: Sequence[str] = ()
    expect: str = 'either'
    harm: Callable[[], str] = lambda: ''


@dataclass(frozen=True)
class Outcome:
    """What became of a case; ``seconds`` are those of the processor."""

    tool: str
    name: str
    verdict: str
    why: str
    code: int
    seconds: float
    megabytes: int
    said: str


def run(case: Case, folder: Path) -> Outcome:
    """Run a case in a child, in ``folder``, and judge it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / 'stdout.txt', folder / 'stderr.txt']
    before = _resident()
    child = os.fork()
    if child == 0:
        _be_the_child(case, folder, files)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    extra = max(0, usage.ru_maxrss * 1024 - before)
    said, error = (file.read_text('utf-8', 'replace') for file in files)
    verdict, why = judge(case, status, error, seconds, extra)
    code = os.waitstatus_to_exitcode(status)
    last = (error.strip().splitlines() or said.strip().splitlines() or [''])[-1]
    return Outcome(case.tool, case.name, verdict, why, code, round(seconds, 1), extra >> 20, last[:400])


def _resident() -> int:
    """Bytes of memory that this process has now, which its children begin with."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


def _be_the_child(case: Case, folder: Path, files: Sequence[Path]) -> None:
    """Run the command; never returns."""
    code = RAISED
    try:
        os.setpgid(0, 0)  # what signals its process group reaches nobody else
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, start=1):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        sys.stdout, sys.stderr = (os.fdopen(number, 'w', closefd=False) for number in (1, 2))
        # The kernel ends what hangs, also in compiled code; in time of the processor, since others
        # compute here too, and in time of the clock, for what waits.
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(6 * SECONDS)
        pages = int(Path('/proc/self/statm').read_text().split()[0])
        limit = pages * resource.getpagesize() + 4 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        code = case.work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def judge(case: Case, status: int, error: str, seconds: float, extra: int) -> tuple[str, str]:
    """The verdict on a child that ended, and why."""
    harm = case.harm()
    if harm:
        return 'worse', harm
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGALRM, -signal.SIGXCPU, -signal.SIGKILL) or seconds > SECONDS:
        return 'worse', f'took more than {SECONDS} seconds'
    if code < 0:
        return 'worse', signal.Signals(-code).name
    if extra > MEMORY:
        return 'worse', f'took {extra >> 20} MB'
    if code == RAISED or 'Traceback (most recent call last)' in error:
        return 'traceback', (error.strip().splitlines() or ['?'])[-1][:200]
    lines = [line for line in error.splitlines() if MESSAGE.match(line)]
    if any(UNFORESEEN in line for line in lines):
        return 'traceback', lines[-1][:200]
    if code not in CODES[case.expect]:
        return 'wrong', {0: 'accepted', 2: 'refused'}.get(code, f'exit code {code}')
    if code == 0:
        return 'right', ''
    # A check says every error of a dataset, and in the last message how many there are.
    if len(lines) != 1 and code != 1 and not (lines and lines[-1].endswith('see above.)')):
        return 'wrong', f'{len(lines)} messages'
    if case.names and not any(name in line for name in case.names for line in lines or [error]):
        return 'wrong', f'the message does not name {case.names[0]}'
    return 'right', 'message'


@dataclass
class Guarded:
    """Files that no case may change, and a mark that code leaves when it is run.

    Args:
        folder: for both.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mark = self.folder / 'code_was_run'
        self.files = [self.folder / name for name in ('best_of_mine.pth', 'thesis.py', 'epoch_1.pth')]
        for file in self.files:
            file.write_text('mine')

    def harm(self) -> str:
        """What was done; puts everything back."""
        found = 'code was run' if self.mark.exists() else ''
        self.mark.unlink(missing_ok=True)
        for file in self.files:
            if not file.is_file() or file.read_text() != 'mine':
                found = f'{file.name} was changed'
                file.write_text('mine')
        return found


def counts(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """For each tool, and for all: how its inputs ended, and the most seconds and memory."""
    rows = {}
    for tool in [*dict.fromkeys(outcome.tool for outcome in outcomes), 'all']:
        own = [one for one in outcomes if tool in (one.tool, 'all')]
        rows[tool] = {
            'tried': len(own),
            'done': sum(one.verdict == 'right' and not one.why for one in own),
            'message': sum(one.verdict == 'right' and bool(one.why) for one in own),
            **{verdict: sum(one.verdict == verdict for one in own) for verdict in VERDICTS[1:]},
            'seconds': max(one.seconds for one in own),
            'MB': max(one.megabytes for one in own),
            'slowest': max(own, key=lambda one: one.seconds).name[:60],
        }
    return rows


def summary(outcomes: Sequence[Outcome], every: int, first: int) -> dict[str, Any]:
    """What is kept of a run: the counts, and every input that did not end rightly.

    Args:
        outcomes: of each ``every``-th input from ``first`` on.
    """
    bad = [asdict(one) for one in outcomes if one.verdict != 'right']
    inputs = len({one.name for one in outcomes})
    return dict(every=every, first=[first], inputs=inputs, tools=counts(outcomes), not_right=bad)


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The summary of two runs of different inputs."""
    tools = {tool: dict(row) for tool, row in one['tools'].items()}
    for tool, row in other['tools'].items():
        if tool not in tools:
            tools[tool] = row
            continue
        into, slowest = tools[tool], max(tools[tool], row, key=lambda row: row['seconds'])['slowest']
        for name, value in row.items():
            into[name] = max(into[name], value) if name in ('seconds', 'MB', 'slowest') else into[name] + value
        into['slowest'] = slowest
    sums = {name: one[name] + other[name] for name in ('inputs', 'not_right', 'first')}
    return {'every': one['every'], **sums, 'tools': tools}


def report(outcomes: Sequence[Outcome]) -> str:
    """A table of numbers by tool, and what was not right."""
    found = counts(outcomes)
    rows = [['tool', *found['all']], *([tool, *map(str, row.values())] for tool, row in found.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ['  '.join(f'{cell:>{width}}' for cell, width in zip(row, widths, strict=True)) for row in rows]
    bad = [
        f'{one.verdict}: {one.tool}, {one.name}: {one.why} ({one.said})' for one in outcomes if one.verdict != 'right'
    ]
    return '\n'.join([*table, '', *bad])
