"""Being asked to stop: SIGTERM, as schedulers and spot machines send it, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size

from mmdet_dab.console import rank

SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds that a worker lives on after a SIGTERM to all processes of a job: its main process needs
#: it to end the step.
WORKER_GRACE = 60
#: Seconds within which a repeated signal is the same request: torchrun and Slurm pass on what a
#: process has had already.
SAME_REQUEST = 2.0


class Stopped(SystemExit):
    """The training run was asked to stop, and has saved; the exit code is 128 + the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopSignals:
    """While it is entered, the first signal is noted, and a second one ends the process at once.

    Outside of the main thread, where Python sets no handlers, signals do what they did before.
    """

    def __init__(self) -> None:
        self.received = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            if time.monotonic() - self._since > SAME_REQUEST:
                os._exit(128 + number)
            return
        self.received, self._since = number, time.monotonic()
        if rank() == 0:
            name = signal.Signals(number).name
            text = f'{name}: the training run stops and saves after this step; a second signal stops it at once\n'
            # print() may be what the signal has interrupted.
            with contextlib.suppress(OSError):
                os.write(2, text.encode())

    def on_any_process(self) -> int:
        """The signal that one process or more have received; 0 for none. All processes call it."""
        if get_world_size() == 1:
            return self.received
        received = torch.tensor(self.received)
        all_reduce(received, 'max')
        return int(received)


class CalmWorker:
    """A ``worker_init_fn`` that leaves the answer to signals to the main process.

    Ctrl-C goes to every process of a terminal, and Slurm's SIGTERM to every process of a job. A
    worker that died of it would take the step from the main process that is about to save.

    Args:
        initialise: the ``worker_init_fn`` to call besides.
    """

    def __init__(self, initialise: Callable[[int], None] | None) -> None:
        self.initialise = initialise

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(WORKER_GRACE))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if self.initialise is not None:
            self.initialise(worker)
