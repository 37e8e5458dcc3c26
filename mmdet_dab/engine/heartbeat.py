"""Signs of life of all processes of a training run: who is lost, who is only slow.

A collective that waits for ever does not say for whom. So every process writes a sign of life into
the store through which they all met (``MASTER_ADDR``, ``MASTER_PORT``), from a thread of its own,
and reads those of the others. A process whose signs stay away is **lost**: killed, stopped, cut off
from the network, or its machine is gone. One whose signs go on while its work does not is **slow**,
and its sign says what it does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import barrier, broadcast_object_list, get_dist_info
from torch.distributed import DistError, TCPStore

#: What gloo says when the other side of a connection is gone; its errors are plain RuntimeErrors.
GONE = ('Connection closed by peer', 'Connection reset by peer', 'Broken pipe', 'Timed out waiting', 'gloo')
#: Where a frame waits for other processes.
COLLECTIVES = 'distributed_c10d.py'
TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class Sign:
    """A sign of life.

    Attributes:
        number: counts them, so that an old one is known.
        rank: of the process.
        host: name of its machine.
        pid: its number there.
        step: of the training run.
        stage: what it does, for example ``'loading data'``.
        seconds: for which it has done this.
        where: the line of code that it is at.
        waits: for other processes.
        ended: why it has ended; None while it lives.
    """

    number: int
    rank: int
    host: str
    pid: int
    step: int
    stage: str
    seconds: float
    where: str
    waits: bool
    ended: str | None = None

    @property
    def name(self) -> str:
        """The process, for messages."""
        return f'process {self.rank} ({self.host}, pid {self.pid})'

    @property
    def work(self) -> str:
        """What it does, for messages."""
        return f'{self.stage} in step {self.step}, at {self.where}'


class Heartbeat:
    """Writes signs of life of this process, and reads those of the others, until it is stopped.

    All processes start it at the same point. Where some are lost, the living process of the lowest
    rank says who, and all living ones end with exit code 1: a collective cannot be called off.

    Args:
        lost_after: seconds without a sign of life.
        slow_after: seconds in one stage after which ``warn`` is told of it, and again after twice
            the time.
        interval: seconds between two signs.
        warn: takes a sentence.
    """

    def __init__(
        self,
        lost_after: float = 120.0,
        slow_after: float = 60.0,
        interval: float = 5.0,
        warn: Callable[[str], object] = print,
    ) -> None:
        self.lost_after, self.slow_after, self.interval, self.warn = lost_after, slow_after, interval, warn
        self.rank, self.world_size = get_dist_info()
        self._main = threading.get_ident()
        self._stage = ('starting', 0, time.monotonic())
        self._number = 0
        self._seen: dict[int, tuple[Sign, float]] = {}
        self._store_since: float | None = None
        self._warn_at = slow_after
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name='heartbeat', daemon=True)

    def start(self) -> None:
        """Meet the others; they all call it."""
        # A restarted training run meets in the same store: its keys are new.
        token = [uuid.uuid4().hex]
        broadcast_object_list(token)
        # A client of its own: the default one is locked while the main thread waits for a key.
        self._store = TCPStore(
            os.environ['MASTER_ADDR'],
            int(os.environ['MASTER_PORT']),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=max(self.lost_after / 2, 1)),
        )
        self._keys = [f'mmdet_dab/{token[0]}/{rank}' for rank in range(self.world_size)]
        self._write()
        barrier()
        self._read()
        self._thread.start()

    def stop(self) -> None:
        """End it; this process needs the others no longer."""
        self._stop.set()
        self._thread.join(self.interval)

    def note(self, stage: str, step: int) -> None:
        """Say what this process does from now on."""
        self._stage = (stage, step, time.monotonic())

    def last_words(self, reason: str) -> None:
        """Tell the others that this process ends, and why."""
        self._stop.set()
        self._write(ended=reason)

    def explain(self) -> str | None:
        """Who is gone, after a collective has failed in this process.

        It waits for three signs of those that live.

        Returns:
            the message, if this process is the one to say it.
        """
        self._stop.set()
        self._thread.join(self.interval)
        patience = 3 * self.interval + 0.5
        until = time.monotonic() + 2 * patience
        lost: list[Sign] = []
        while not lost and time.monotonic() < until:
            time.sleep(min(self.interval, 0.5))
            self._write()
            self._read()
            lost = self._lost(patience)
        return self._message(lost) if lost else None

    # --- The thread

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self.interval):
            now = time.monotonic()
            if now - last > 3 * self.interval:
                # This process was stopped itself: it has not listened, and the others get their
                # time anew.
                self._seen = {rank: (sign, now) for rank, (sign, _) in self._seen.items()}
                self._store_since = None
            last = now
            self._write()
            self._read()
            lost = self._lost(self.lost_after)
            if lost:
                self._end(self._message(lost))
            self._warn_of_slow_ones()

    def _write(self, ended: str | None = None) -> None:
        stage, step, since = self._stage
        where, waits = whereabouts(sys._current_frames().get(self._main))
        with self._lock:
            self._number += 1
            sign = Sign(
                number=self._number,
                rank=self.rank,
                host=socket.gethostname(),
                pid=os.getpid(),
                step=step,
                stage=stage,
                seconds=time.monotonic() - since,
                where=where,
                waits=waits,
                ended=ended,
            )
            self._with_store(lambda: self._store.set(self._keys[self.rank], json.dumps(asdict(sign))))

    def _read(self) -> None:
        with self._lock:
            for rank, key in enumerate(self._keys):
                text = self._with_store(partial(self._get, key))
                if text is None:
                    continue
                sign = Sign(**json.loads(text))
                if rank not in self._seen or sign.number != self._seen[rank][0].number:
                    self._seen[rank] = (sign, time.monotonic())

    def _get(self, key: str) -> bytes | None:
        """What is stored; waiting for what is not there yet would block."""
        return self._store.get(key) if self._store.check([key]) else None

    def _with_store(self, call: Callable[[], bytes | None]) -> bytes | None:
        """Use the store; note since when it does not answer."""
        try:
            answer = call()
        except RuntimeError:
            self._store_since = self._store_since or time.monotonic()
            return None
        self._store_since = None
        return answer

    def _lost(self, after: float) -> list[Sign]:
        """Those that have ended, or gave no sign for so many seconds."""
        now = time.monotonic()
        if self._store_since is not None and now - self._store_since > after:
            # It is kept by the first process, or by the agent of torchrun beside it.
            sign = self._seen[0][0] if 0 in self._seen else self._unknown()
            return [replace(sign, where='the store of the training run, which it keeps, does not answer')]
        if self._store_since is not None:
            return []
        others = [entry for rank, entry in self._seen.items() if rank != self.rank]
        return [sign for sign, when in others if sign.ended or now - when > after]

    def _unknown(self) -> Sign:
        return Sign(0, 0, os.environ['MASTER_ADDR'], 0, 0, 'starting', 0.0, '', False)

    def _message(self, lost: list[Sign]) -> str | None:
        """What to say, where this process is the first one that lives."""
        gone = {sign.rank for sign in lost}
        if any(rank not in gone for rank in range(self.rank)):
            return None
        texts = []
        for sign in lost:
            if sign.ended:
                texts.append(f'{sign.name} has ended: {sign.ended}')
            else:
                texts.append(f'{sign.name} is lost: killed, stopped, or its machine is gone. Last: {sign.work}')
        return f'{"; ".join(texts)}. The training run ends here, --resume goes on from its last checkpoint'

    def _end(self, message: str | None) -> None:
        """End this process, whose main thread may wait for ever."""
        if message is not None:
            os.write(2, f'error: {message}\n'.encode())
        else:
            time.sleep(self.interval)  # so that the one who speaks is not cut off
        os._exit(1)

    def _warn_of_slow_ones(self) -> None:
        if self.rank != 0:
            return
        signs = [sign for sign, _ in self._seen.values()]
        busy = [sign for sign in signs if not sign.waits and sign.seconds > self.slow_after]
        if not busy or len(signs) < self.world_size:
            self._warn_at = self.slow_after
            return
        # Who is behind: those that load while others compute.
        behind = min((sign.step, sign.stage == 'computing') for sign in busy)
        slow = [sign for sign in busy if (sign.step, sign.stage == 'computing') == behind]
        if max(sign.seconds for sign in slow) < self._warn_at:
            return
        self._warn_at *= 2
        texts = [f'{sign.name} for {sign.seconds:.0f} s {sign.work}' for sign in slow]
        verb = 'is' if len(slow) == 1 else 'are'
        self.warn(f'{"; ".join(texts)}: {verb} slow, not lost; the training run waits')


def whereabouts(frame: FrameType | None) -> tuple[str, bool]:
    """The line of code, outside of PyTorch, that a thread is at, and whether it waits for others."""
    waits = False
    while frame is not None:
        file = frame.f_code.co_filename
        waits = waits or file.endswith(COLLECTIVES)
        if not file.startswith(TORCH):
            return f'{Path(file).name}:{frame.f_lineno} {frame.f_code.co_name}', waits
        frame = frame.f_back
    return 'an unknown line', waits


def is_of_others(error: BaseException) -> bool:
    """Whether an error of a collective says no more than that another process is gone."""
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in GONE)
    )
