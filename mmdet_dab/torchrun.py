"""torchrun that leaves the last word to the processes: ``python -m mmdet_dab.torchrun``.

It takes the arguments of torchrun. Where a process ends with an error, that process has said what
is wrong; torchrun would add thirty lines, and turn its exit code into 1.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from mmdet_dab.console import complain

#: Loggers of torchrun that repeat what a process has said.
REPEATING = ('torch.distributed.elastic.multiprocessing.api', 'torch.distributed.elastic.multiprocessing.errors')

#: Seconds that processes have to end a step and save, when torchrun is asked to stop; its own are
#: 30.
GRACE = '120'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run torchrun; the exit code of the process that failed first, or 128 + a signal."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', GRACE)
    for name in REPEATING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run.main(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code < 0:
            complain(f'error: process {rank} (pid {failure.pid}) was ended by signal {-code}')
            return 128 - code
        return code or 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == '__main__':
    sys.exit(main())
