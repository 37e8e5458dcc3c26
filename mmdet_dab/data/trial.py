"""How long a training run takes on this machine, by a short trial: from minutes to epochs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_dab.config import load_config
from mmdet_dab.errors import DataError, plural

#: Steps that are measured, after those that warm up.
MEASURED, WARM_UP = 12, 3
#: Hooks that write files, or speak.
SILENT = ('checkpoint', 'visualization', 'training_watch')
#: A training run takes so many seconds to start and to end.
START = 12.0
#: With fewer epochs no schedule is worth its name.
FEWEST_EPOCHS = 3
#: bfloat16 has to be faster by this factor; less is the noise of a short trial.
GAIN = 1.15


@dataclass(frozen=True)
class Speed:
    """What a trial measured.

    Attributes:
        step: seconds of a training step, median.
        validation: seconds of one pass over the validation images.
    """

    step: float
    validation: float


@dataclass(frozen=True)
class Budget:
    """Minutes by the clock that a training run may take, and what trials of it measured.

    Attributes:
        minutes: of the training run.
        full: in float32.
        half: in bfloat16; None where that was not tried.
    """

    minutes: float
    full: Speed
    half: Speed | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether this machine trains so much faster in bfloat16 that it is worth it."""
        return self.half is not None and self.half.step * GAIN < self.full.step

    @property
    def speed(self) -> Speed:
        """That of the precision to train in."""
        return self.half if self.half is not None and self.bfloat16 else self.full

    def epochs(self, steps_per_epoch: int, validations: int) -> tuple[int, str]:
        """How many epochs fit, and why.

        Raises:
            DataError: fewer than three do.
        """
        step, validation = self.speed.step, self.speed.validation
        epoch = steps_per_epoch * step
        epochs = int((60 * self.minutes - START - validations * validation) / epoch)
        if epochs < FEWEST_EPOCHS:
            needed = (START + validations * validation + FEWEST_EPOCHS * epoch) / 60
            raise DataError(
                f'--minutes {self.minutes:g}: buys {plural(max(epochs, 0), "epoch")} here, where a step takes '
                f'{step:.2f} s, an epoch {plural(steps_per_epoch, "step")} and a validation '
                f'{validation:.0f} s. Give at least {needed:.1f}'
            )
        precision = f' (bfloat16; {self.full.step:.3g} s in float32)' if self.bfloat16 else ''
        reason = (
            f'What fits into {self.minutes:g} minutes by the clock: a step took {step:.3g} s{precision} in a trial on '
            f'this machine, a validation {validation:.2g} s; {plural(steps_per_epoch, "step")} an epoch.'
        )
        return epochs, reason


def measure_speed(text: str, minutes: float) -> Budget:
    """Train some steps of a config, and validate some batches; on a CPU once more in bfloat16.
    Nothing is kept.

    Args:
        text: the config.
        minutes: of the budget.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'trial.py')
        file.write_text(text, encoding='utf-8')
        cfg = load_config(file)
    full = measure_config(cfg)
    if is_cuda_available():
        return Budget(minutes, full)
    cfg.optim_wrapper.type = 'CPUAmpOptimWrapper'
    return Budget(minutes, full, measure_config(cfg))


def measure_config(cfg: Config, clock: Callable[[], float] = time.perf_counter) -> Speed:
    """The same of a config that was read.

    Args:
        cfg: it stays as it is.
        clock: of the seconds; ``time.process_time`` for a loader without workers on one thread.
    """
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner.from_cfg(_shortened(deepcopy(cfg), folder))
        watch = _Watch(clock)
        runner.register_hook(watch)
        runner.train()
        return Speed(median(watch.seconds[WARM_UP:]), _validation(runner, clock))


def _shortened(cfg: Config, folder: str) -> Config:
    """The same training run for some steps, in silence, from weights that need not be there."""
    cfg.work_dir, cfg.log_level, cfg.load_from = folder, 'ERROR', None
    # `val_begin`: the loop would validate once at its end, whatever the interval.
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=WARM_UP + MEASURED, val_begin=10**9)
    hooks = {name: hook for name, hook in cfg.default_hooks.items() if name not in SILENT}
    cfg.default_hooks = {**hooks, 'checkpoint': None}
    # The default logger wants a folder that stays.
    cfg.visualizer = dict(type='Visualizer', vis_backends=None)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'FineTuningHook']
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].persistent_workers = False
    return cfg


def _validation(runner: Runner, clock: Callable[[], float]) -> float:
    """Seconds of a validation, by its first batches."""
    loader = runner.val_dataloader
    runner.model.eval()
    seconds = []
    for batch in loader:
        start = clock()
        runner.model.val_step(batch)
        seconds.append(clock() - start)
        if len(seconds) == MEASURED:
            break
    return median(seconds) * len(loader)


class _Watch(Hook):
    """Seconds from one step to the next, loading included."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: list[float] = []
        self.last = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        self.last = self.clock()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        now = self.clock()
        self.seconds.append(now - self.last)
        self.last = now
