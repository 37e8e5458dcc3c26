"""Evaluate a checkpoint: ``python tools/test.py configs/dab_detr_r50_50e.py CHECKPOINT``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmdet_dab  # noqa: F401  (makes mmdet importable without a compiled mmcv)

# isort: split
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config

from mmdet_dab import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint.')
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    cli.add_runner_arguments(parser)
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to this file, for offline evaluation')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write the pictures with truth and predictions there (of several processes, those of the first)',
    )
    cli.add_optimize_argument(parser)
    return parser.parse_args()


def draw_into(cfg: Config, folder: str) -> None:
    """Turn drawing on. The hook joins a relative folder to itself at every picture, so it gets an absolute one."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise cli.UsageError(f'--show-dir: config {cfg.filename} has no default_hooks.visualization to draw with')
    if cfg.test_dataloader.dataset.pipeline[0]['type'].endswith('LoadImageFromNDArray'):
        raise cli.UsageError(
            f'--show-dir: the pictures of config {cfg.filename} are drawn, not read from files, which the '
            'visualization hook needs: tools/demo.py draws theirs'
        )
    hook.update(draw=True, test_out_dir=str(Path(folder).resolve()))


def main() -> None:
    args = parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise cli.UsageError(f'--out {args.out}: predictions are written as a pickle, name a .pkl file')
    cfg = cli.load_config(args.config, args.cfg_options)
    cli.set_work_dir(cfg, args.work_dir)
    if args.show_dir:
        draw_into(cfg, args.show_dir)
    cli.check_data(cfg, 'test')
    if not args.no_data_checks:
        cli.check_annotations(cfg, 'test')
    cli.check_checkpoint(args.checkpoint)
    cfg.resume, cfg.load_from = False, args.checkpoint
    cli.drop_averaging(cfg)
    if args.optimize:
        optimize = dict(type='mmdet_dab.OptimizeForInferenceHook', dtype=args.optimize)
        cfg.custom_hooks = [*cfg.custom_hooks, optimize]
    runner = cli.build_runner(cfg, args.launcher)
    if args.out:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    runner.test()


if __name__ == '__main__':
    cli.run(main)
