"""From a config to a Runner that is ready to start: its folder, its processes, where it resumes."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmdet_dab.config import cannot_be_built
from mmdet_dab.console import rank
from mmdet_dab.engine.files import latest_checkpoint as find_latest
from mmdet_dab.engine.lock import work_dir_lock
from mmdet_dab.errors import ConfigError, UserError
from mmdet_dab.hooks import FineTuningHook, ProcessWatchHook, ResumeHook
from mmdet_dab.slurm import as_torchrun

#: How log records begin that fill hundreds of lines, or that warn of nothing: they stay in the log
#: file.
LONG_RECORDS = ('paramwise_options', '\n----', 'Config:', 'Hooks will be executed', '"FileClient"', '"HardDiskBackend"')
#: Losses of a single layer or group within a line of the log, such as ``d0.loss_cls: 0.5123``.
DETAILS = re.compile(r' {2}(d\d+|dn\w*|enc)\.\w+: \S+')


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The command line comes first, then the config, then a folder named after the config file."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def latest_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint in ``work_dir`` that is whole, or None.

    A message names those that are damaged.
    """
    latest = find_latest(work_dir, _warn)
    return None if latest is None else str(latest)


def _warn(text: str) -> None:
    """A warning on stderr, from the first process."""
    if is_first_process():
        print(f'warning: {text}', file=sys.stderr)


def is_first_process() -> bool:
    """Whether this process is, or will be, the first one of its training run.

    Also before the others are met.
    """
    return rank() == 0


def training_lock(cfg: Config) -> contextlib.AbstractContextManager[None]:
    """Keep other training runs out of the work directory while this one trains there.

    Raises:
        UserError: on entering, where one is under way.
    """
    return work_dir_lock(cfg.work_dir) if is_first_process() else contextlib.nullcontext()


@contextlib.contextmanager
def failures_named(runner: Runner) -> Iterator[None]:
    """Say which process is gone where a collective fails because of it.

    Raises:
        SystemExit: with code 1, in place of the error of the collective.
    """
    with contextlib.ExitStack() as stack:
        for hook in runner.hooks:
            if isinstance(hook, ProcessWatchHook):
                stack.enter_context(hook.naming())
        yield


def best_checkpoint(runner: Runner) -> str | None:
    """The checkpoint with the best validation of a training run, if it kept one."""
    for hook in runner.hooks:
        best = getattr(hook, 'best_ckpt_path', None)
        if isinstance(best, str):
            return best
    return None


def drop_averaging(cfg: Config) -> None:
    """Take out the hooks that average weights in training.

    The weights of their checkpoints are the average already, and swapping weights during a test
    fails where batch norm is folded into them.
    """
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook and hook['type'] == 'EMAHook']:
        hooks.pop(name)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']


class BriefRunner(Runner):
    """A Runner whose console shows what people read: a line a step, no losses of single layers.

    The log file in the work directory keeps everything, also the config and the environment.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_short)
                handler.setFormatter(_Brief(handler.formatter or logging.Formatter()))
        return logger


def _is_short(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(LONG_RECORDS)


class _Brief(logging.Formatter):
    """Formats as another formatter does, without :data:`DETAILS`."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return DETAILS.sub('', self.formatter.format(record))


def build_runner(cfg: Config, launcher: str = 'none') -> Runner:
    """Build the Runner, or the ``runner_type`` of the config.

    Raises:
        ConfigError: a part of the config refuses its arguments, or the launcher does not fit the
            machine.
    """
    cfg.launcher = launcher
    warnings.filterwarnings(
        'ignore', message='Warning: The (bbox|polygon) is out of bounds'
    )  # of images that are drawn
    if launcher != 'none':
        _prepare_processes(cfg)
    _settle_workers(cfg)
    _settle_visualizer(cfg)
    try:
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else BriefRunner.from_cfg(cfg)
    except (UserError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # a part may be anybody's
        raise cannot_be_built(cfg, error) from error
    # Configs that are not ours, or have a list of hooks of their own: there, too, nothing that a
    # checkpoint names is run or deleted, and weights of another model are not taken.
    for hook in (ResumeHook, FineTuningHook):
        if not any(isinstance(known, hook) for known in runner.hooks):
            runner.register_hook(hook())
    return runner


def _settle_visualizer(cfg: Config) -> None:
    """Give each Runner of a process a visualizer of its own.

    MMEngine keeps them by name, and configs name all of theirs ``visualizer``: a second run would
    log to the folder of the first.
    """
    if (visualizer := cfg.get('visualizer')) is None:
        return
    first = name = visualizer.get('name', 'visualizer')
    for number in itertools.count(2):
        if not Visualizer.check_instance_created(name):
            break
        name = f'{first}-{number}'
    visualizer.name = name


def _settle_workers(cfg: Config) -> None:
    """Without workers there are none to keep or to fetch ahead; torch refuses to be asked for it."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        if loader.get('num_workers') == 0:
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)


def _prepare_processes(cfg: Config) -> None:
    """Make processes of Slurm, and processes on the CPU, possible.

    mmengine's own start takes a CUDA device for each process, and one port for all jobs of Slurm on
    a machine. It leaves a process group alone that is there already, and a ``device_ids`` that is
    set.
    """
    if cfg.launcher == 'slurm':
        os.environ.update(as_torchrun(os.environ))
        cfg.launcher = 'pytorch'
    if torch.cuda.is_available():
        devices, local_rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
        if local_rank >= devices:
            raise ConfigError(
                f'process {local_rank} of this machine has no GPU, it has {devices}: start {devices} processes'
            )
        return
    if cfg.launcher != 'pytorch' or 'RANK' not in os.environ:
        raise ConfigError(
            f'--launcher {cfg.launcher} needs GPUs here: on the CPU, start processes with tools/dist_train.sh, '
            'tools/dist_test.sh or Slurm'
        )
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        **(cfg.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }
    torch.distributed.init_process_group('gloo')
