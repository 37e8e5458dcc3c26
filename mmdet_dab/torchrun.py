"""torchrun that leaves the last word to the processes: ``python -m mmdet_dab.torchrun``.

It takes the arguments of torchrun. Where a process ends with an error, that process has said what
is wrong; torchrun would add thirty lines, and turn its exit code into 1.

With ``--standalone`` torchrun tells the processes to meet at the *name* of the machine. A name that
nobody knows, or that belongs to an address of yesterday, keeps them waiting for many minutes: here
they meet at the loopback address.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import MutableMapping, Sequence

from mmdet_dab.console import complain

#: Loggers of torchrun that repeat what a process has said.
REPEATING = ('torch.distributed.elastic.multiprocessing.api', 'torch.distributed.elastic.multiprocessing.errors')

#: Seconds that processes have to end a step and save, when torchrun is asked to stop; its own are
#: 30.
GRACE = '120'


LOOPBACK = '127.0.0.1'


def on_one_machine(arguments: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """The arguments, with the loopback address for processes that have only this machine.

    Args:
        arguments: of torchrun.
        environment: where gloo, which asks for the name of the machine as well, is told its device.
    """
    if '--standalone' not in arguments:
        return list(arguments)
    loopback = [name for _, name in socket.if_nameindex() if name in ('lo', 'lo0')]
    for name in loopback[:1]:
        environment.setdefault('GLOO_SOCKET_IFNAME', name)
    return [f'--local_addr={LOOPBACK}', *arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run torchrun; the exit code of the process that failed first, or 128 + a signal."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', GRACE)
    for name in REPEATING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        run.main(on_one_machine(given, os.environ))
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
