"""Evaluate a checkpoint, or a file that was exported from one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import ConfigError, UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--model', type=Path, metavar='FILE', help='exported file to evaluate instead: .onnx, .xml, .pt2'
    )
    arguments.add_runner(parser)
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to this file, for offline evaluation')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write the images with ground truth and predictions there (of several processes, those of the first)',
    )
    arguments.add_optimize(parser)


def run(args: argparse.Namespace) -> None:
    say(f'test {args.config} {args.model or args.checkpoint}')
    if (args.checkpoint is None) == (args.model is None):
        raise UserError('test: name either a checkpoint or an exported file, --model FILE')
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out}: predictions are written as a pickle, name a .pkl file')
    draft = draft_config(args.config, args.cfg_options)
    if args.show_dir:
        draw_into(draft.cfg, args.show_dir)
    preflight.check_data(draft.cfg, 'test')
    preflight.check_file(str(args.model or args.checkpoint))
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    from mmdet_dab import launch

    launch.set_work_dir(cfg, args.work_dir)
    if not args.no_data_checks:
        preflight.check_annotations(cfg, 'test')
    if args.checkpoint is not None:
        preflight.check_checkpoint(args.checkpoint)
    if args.check_only:
        say('config, data and checkpoint can be used')
        return
    cfg.resume, cfg.load_from = False, args.checkpoint
    launch.drop_averaging(cfg)
    if args.model is not None:
        from mmdet_dab.deploy.exported_detector import put_in_place

        put_in_place(cfg, args.model)
    if args.optimize:
        optimize = dict(type='mmdet_dab.OptimizeForInferenceHook', dtype=args.optimize)
        cfg.custom_hooks = [*cfg.custom_hooks, optimize]
    runner = launch.build_runner(cfg, args.launcher)
    if args.out:
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    with launch.failures_named(runner):
        runner.test()
    for name, path in (('predictions', args.out), ('images', args.show_dir)):
        if path:
            say(f'{name}  {path}')


def draw_into(cfg: Config, folder: str) -> None:
    """Turn drawing on. The hook joins a relative folder to itself at every image, so it gets an
    absolute one.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(f'--show-dir: config {cfg.filename} has no default_hooks.visualization to draw with')
    if cfg.test_dataloader.dataset.pipeline[0]['type'].endswith('LoadImageFromNDArray'):
        raise ConfigError(
            f'--show-dir: the images of config {cfg.filename} are drawn, not read from files, which the '
            'visualization hook needs: `mmdet-dab demo` draws theirs'
        )
    hook.update(draw=True, test_out_dir=str(Path(folder).resolve()))
