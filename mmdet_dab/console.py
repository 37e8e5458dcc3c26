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
