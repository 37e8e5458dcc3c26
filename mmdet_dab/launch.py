"""From a config to a Runner that is ready to start: its folder, its processes, where it resumes."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from mmdet_dab.config import cannot_be_built
from mmdet_dab.errors import ConfigError

#: How log records begin that fill hundreds of lines, or that warn of nothing: they stay in the log file.
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
    """The checkpoint that a run in ``work_dir`` noted last, or None; the folder may have moved since."""
    latest = find_latest_checkpoint(work_dir)
    if latest is None or Path(latest).exists():
        return latest
    return str(Path(work_dir) / Path(latest).name)


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
    """A Runner whose console shows what people read: a line for every logged step, without the losses of each layer.

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
        ConfigError: a part of the config refuses its arguments, or the launcher does not fit the machine.
    """
    cfg.launcher = launcher
    warnings.filterwarnings(
        'ignore', message='Warning: The (bbox|polygon) is out of bounds'
    )  # of images that are drawn
    if launcher != 'none':
        _prepare_processes(cfg)
    try:
        return RUNNERS.build(cfg) if 'runner_type' in cfg else BriefRunner.from_cfg(cfg)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise cannot_be_built(cfg, error) from error


def _prepare_processes(cfg: Config) -> None:
    """Make processes on the CPU possible: mmengine's own start takes a CUDA device for each.

    mmengine leaves a process group alone that is there already, and a ``device_ids`` that is set.
    """
    if torch.cuda.is_available():
        devices, rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
        if rank >= devices:
            raise ConfigError(f'process {rank} of this machine has no GPU, it has {devices}: start {devices} processes')
        return
    if cfg.launcher != 'pytorch' or 'RANK' not in os.environ:
        raise ConfigError(
            f'--launcher {cfg.launcher} needs GPUs here: on the CPU, start processes with tools/dist_train.sh '
            'or tools/dist_test.sh'
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
