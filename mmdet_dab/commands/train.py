"""Train a detector."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import config_blamed, draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

AUTO = 'auto'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    arguments.add_runner(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const=AUTO,
        metavar='CHECKPOINT',
        help='resume from a checkpoint with its optimizer and epoch; without a name, from the latest in the work '
        'directory, and from the start where there is none',
    )
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision, on a CPU in bfloat16')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the images of an update: batch size × processes × accumulated steps',
    )
    parser.add_argument(
        '--refit-schedule',
        action='store_true',
        help='with --resume: the learning rate follows the schedule of the config, not that of the checkpoint',
    )


def run(args: argparse.Namespace) -> None:
    say(f'train {args.config}')
    draft = draft_config(args.config, args.cfg_options)
    preflight.check_drawing(draft.cfg, 'val')
    preflight.check_backends(draft.cfg)
    preflight.check_schedule(draft.cfg)
    preflight.check_data(draft.cfg, 'train', 'val')
    for path in (draft.cfg.get('load_from'), args.resume if args.resume != AUTO else None):
        if path:
            preflight.check_file(path)
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    from mmdet_dab import launch

    launch.set_work_dir(cfg, args.work_dir)
    if args.amp:
        use_mixed_precision(cfg)
    if args.auto_scale_lr:
        scale_learning_rate(cfg)
    if was_restarted() and launch.latest_checkpoint(cfg.work_dir) is not None:
        # Whatever it was started from: its own last checkpoint is behind that.
        args.resume = AUTO
    if args.resume:
        resume(cfg, args.resume)
    if args.refit_schedule:
        refit_schedule(cfg, args.resume)
    if not args.no_data_checks:
        preflight.check_annotations(cfg, 'train', 'val')
    if cfg.get('load_from'):
        preflight.check_checkpoint(cfg.load_from)
    preflight.check_pretrained(cfg)
    if args.check_only:
        say('config, data and checkpoint can be used')
        return
    from mmdet_dab.data.checks.damaged import damaged_images_named, datasets_of

    with launch.training_lock(cfg):
        runner = launch.build_runner(cfg, args.launcher)
        start = time.time()
        with config_blamed(cfg), damaged_images_named(datasets_of(runner)), launch.failures_named(runner):
            runner.train()
    report(runner, args, time.time() - start)


def was_restarted() -> bool:
    """Whether torchrun (``--max-restarts``) or Slurm (``--requeue``) has started this job again."""
    counts = (os.environ.get(name, '0') for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'))
    return any(count != '0' for count in counts)


def resume(cfg: Config, checkpoint: str) -> None:
    """Set where the Runner resumes.

    With nothing there, ``load_from`` stays as the config has it.
    """
    from mmdet_dab import launch
    from mmdet_dab.engine import damage

    if checkpoint == AUTO:
        latest = launch.latest_checkpoint(cfg.work_dir)
        if latest is None:
            print(f'nothing to resume from in {cfg.work_dir}: training starts from the beginning')
            return
        checkpoint = latest
    elif checkpoint.endswith('.safetensors'):
        raise CheckpointError(
            f'checkpoint {checkpoint} holds weights alone: leave --resume out and name it as load_from'
        )
    elif '://' not in checkpoint and (wrong := damage(Path(checkpoint))):
        raise CheckpointError(
            f'checkpoint {checkpoint} {wrong}: --resume without a name takes the newest that is whole'
        )
    cfg.resume, cfg.load_from = True, checkpoint


def use_mixed_precision(cfg: Config) -> None:
    import torch

    if not torch.cuda.is_available():
        cfg.optim_wrapper.type = 'CPUAmpOptimWrapper'
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'


def scale_learning_rate(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ConfigError(f'--auto-scale-lr: config {cfg.filename} has no auto_scale_lr.base_batch_size to scale by')
    # MMEngine counts the images of a step; an update takes those of all steps that it gathers.
    gathered = cfg.optim_wrapper.get('accumulative_counts', 1)
    cfg.auto_scale_lr.update(enable=True, base_batch_size=cfg.auto_scale_lr.base_batch_size / gathered)


def refit_schedule(cfg: Config, resumed: str | None) -> None:
    hook = (cfg.get('default_hooks') or {}).get('resume')
    if not resumed or hook is None:
        raise ConfigError('--refit-schedule is for --resume, with a config that has default_hooks.resume')
    hook.refit_schedule = True


def report(runner: Runner, args: argparse.Namespace, seconds: float) -> None:
    """Say what came of the training run, and what to do next."""
    from mmdet_dab import launch

    best = launch.best_checkpoint(runner)
    checkpoint = best or launch.latest_checkpoint(runner.work_dir)
    say(f'\ntrained in {seconds / 60:.1f} minutes; everything is in {runner.work_dir}')
    if checkpoint is None:
        return
    checkpoint = shlex.quote(str(Path(checkpoint)))
    say(f'{"best" if best else "last"} checkpoint  {checkpoint}')
    say(f'next  mmdet-dab infer IMAGES {shlex.quote(args.config)} {checkpoint}')
