"""Names the process of a training run that is lost, or that the others wait for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_dab.engine.heartbeat import Heartbeat, is_of_others
from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class ProcessWatchHook(Hook):
    """Tells a lost process apart from a slow one, and names it, where several processes work.

    A process that gave no sign of life for ``lost_after`` seconds ends the training run with exit
    code 1 and a message: its rank, machine, process number, and what it did last. One that lives
    and keeps the others waiting for ``slow_after`` seconds is named in a warning. With one process
    the hook does nothing. See :class:`mmdet_dab.engine.heartbeat.Heartbeat`.

    Args:
        lost_after: seconds; reading a large annotation file may keep a process from giving signs
            for half a minute.
        slow_after: seconds.
        interval: seconds between two signs of life.
    """

    # Behind the hooks that work, so that their time counts.
    priority = 'LOWEST'

    def __init__(self, lost_after: float = 120.0, slow_after: float = 60.0, interval: float = 5.0) -> None:
        self.seconds = dict(lost_after=lost_after, slow_after=slow_after, interval=interval)
        self._heartbeat: Heartbeat | None = None

    def before_run(self, runner: Runner) -> None:
        """Meet the other processes."""
        if runner.world_size > 1 and {'MASTER_ADDR', 'MASTER_PORT'} <= os.environ.keys():
            self._heartbeat = Heartbeat(**self.seconds, warn=runner.logger.warning)
            self._heartbeat.start()

    def after_run(self, runner: Runner) -> None:
        """From here on the processes end, one before the other."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Give the failure of a collective the name of the process that caused it.

        Raises:
            SystemExit: with code 1, in place of such an error; one process has said who is gone.
        """
        try:
            yield
        except Exception as error:
            heartbeat, self._heartbeat = self._heartbeat, None
            if heartbeat is None:
                raise
            if not is_of_others(error):
                heartbeat.last_words(f'{type(error).__name__}: {error}'[:500])
                raise
            message = heartbeat.explain()
            if message is not None:
                os.write(2, f'error: {message}\n'.encode())
            raise SystemExit(1) from error

    def _note(self, runner: Runner, stage: str) -> None:
        if self._heartbeat is not None:
            self._heartbeat.note(stage, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Workers start."""
        self._note(runner, 'loading data')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Forward, backward, update."""
        self._note(runner, 'computing')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """On to the next batch."""
        self._note(runner, 'loading data')

    def before_save_checkpoint(self, runner: Runner, checkpoint: Mapping[str, Any]) -> None:
        """The file is written next."""
        self._note(runner, 'saving')

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """A validation is under way."""
        self._note(runner, f'validating batch {batch_idx}')

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """A test is under way."""
        self._note(runner, f'testing batch {batch_idx}')

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """On to the next step."""
        self._note(runner, 'loading data')
