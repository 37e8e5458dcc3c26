"""Train a detector: ``python tools/train.py configs/dab_detr_r50_50e.py``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.config import Config

from mmdet_dab import cli

AUTO = 'auto'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a detector.')
    cli.add_config_arguments(parser)
    cli.add_runner_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const=AUTO,
        metavar='CHECKPOINT',
        help='go on from a checkpoint with its optimizer and epoch; without a name, from the latest in the work '
        'directory, and from the start where there is none',
    )
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (GPU only)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size of all processes'
    )
    return parser.parse_args()


def resume(cfg: Config, checkpoint: str) -> None:
    """Set where the Runner goes on from; with nothing there, ``load_from`` stays as the config has it."""
    if checkpoint == AUTO:
        latest = cli.latest_checkpoint(cfg.work_dir)
        if latest is None:
            print(f'nothing to resume from in {cfg.work_dir}: training starts afresh')
            return
        checkpoint = latest
    cfg.resume, cfg.load_from = True, checkpoint


def use_mixed_precision(cfg: Config) -> None:
    if not torch.cuda.is_available():
        raise cli.UsageError('--amp needs a GPU, and PyTorch sees none: leave it out')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'


def scale_learning_rate(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise cli.UsageError(f'--auto-scale-lr: config {cfg.filename} has no auto_scale_lr.base_batch_size to scale by')
    cfg.auto_scale_lr.enable = True


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args.config, args.cfg_options)
    cli.set_work_dir(cfg, args.work_dir)
    if args.amp:
        use_mixed_precision(cfg)
    if args.auto_scale_lr:
        scale_learning_rate(cfg)
    if args.resume:
        resume(cfg, args.resume)
    cli.check_data(cfg, 'train', 'val')
    if not args.no_data_checks:
        cli.check_annotations(cfg, 'train', 'val')
    if cfg.get('load_from'):
        cli.check_checkpoint(cfg.load_from)
    cli.check_pretrained(cfg)
    cli.build_runner(cfg, args.launcher).train()


if __name__ == '__main__':
    cli.run(main)
