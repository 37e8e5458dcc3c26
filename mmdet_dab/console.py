"""Words for the person who waits at the console."""

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

#: Where launchers say which process this is: torchrun, Slurm, MPI.
RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
#: Where they say which start of which job it belongs to.
JOBS = (
    'TORCHELASTIC_RUN_ID',
    'TORCHELASTIC_RESTART_COUNT',
    'SLURM_JOB_ID',
    'SLURM_STEP_ID',
    'SLURM_RESTART_COUNT',
    'PMIX_NAMESPACE',
)
#: Seconds within which the processes of one start say the same.
RECENT = 300


def rank() -> int:
    """The number of this process among those of a training run, also before they have met."""
    return int(next((os.environ[name] for name in RANKS if os.environ.get(name)), '0'))


def say(text: str) -> None:
    """Print what is going on; on stderr, and of several processes from the first."""
    if rank() == 0:
        print(text, file=sys.stderr, flush=True)


class Progress:
    """How much of long work is done, and the seconds that are left, on stderr.

    A terminal shows one line that is written over; a log gets a line twice a minute.

    Args:
        total: of the work, in ``noun``.
        noun: what is counted, in the plural.
    """

    def __init__(self, total: int, noun: str) -> None:
        self.total, self.noun, self.done = total, noun, 0
        self.on_terminal = sys.stderr.isatty()
        self.started = time.monotonic()
        self.shown = self.started if not self.on_terminal else 0.0

    def __call__(self, done: int) -> None:
        """Say how much is done, if it is time to."""
        self.done = done
        now = time.monotonic()
        if now - self.shown < (0.2 if self.on_terminal else 30):
            return
        self.shown = now
        total = max(self.total, done)
        left = (now - self.started) / max(done, 1) * (total - done)
        text = f'{done:,} of {total:,} {self.noun}, {done / (now - self.started):.1f}/s, {left:,.0f} s left'
        print(f'\r{text:<60}' if self.on_terminal else text, end='' if self.on_terminal else '\n', file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the line of a terminal."""
        if self.on_terminal and self.shown:
            print(f'\r{"":<60}\r', end='', file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print what is wrong on stderr; of the processes of a job on one machine, from one.

    What is wrong may be so on one machine only, so that the first process cannot speak for all. The
    processes find one another by a file that the fastest one makes.
    """
    job = '\n'.join(os.environ.get(name, '') for name in JOBS)
    if any(name in os.environ for name in RANKS):
        name = hashlib.sha256(f'{os.getppid()}\n{os.getuid()}\n{job}\n{text}'.encode()).hexdigest()
        path = Path(tempfile.gettempdir()) / f'mmdet_dab-{name[:32]}'
        with contextlib.suppress(PermissionError):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                if time.time() - path.stat().st_mtime < RECENT:
                    return
    print(text, file=sys.stderr, flush=True)
