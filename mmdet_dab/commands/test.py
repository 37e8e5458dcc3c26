"""Evaluate a checkpoint, or a file that was exported from one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import config_blamed, draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import ConfigError, UserError
from mmdet_dab.regular_files import check_file

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--model', type=Path, metavar='FILE', help='exported file to evaluate instead: .onnx, .xml, .pt2'
    )
    parser.add_argument(
        '--trust', action='store_true', help='load a .pt2 file, which may run code: only one that you made'
    )
    arguments.add_runner(parser)
    parser.add_argument(
        '--out', metavar='FILE', help='write the predictions there: .pkl, or .json for a COCO result file'
    )
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write the images with ground truth and predictions there (of several processes, those of the first)',
    )
    parser.add_argument(
        '--tta', action='store_true', help='test every image mirrored as well, and merge what is found (half as fast)'
    )
    parser.add_argument(
        '--report', type=Path, metavar='DIR', help='write a report there: AP, types of errors, thresholds, galleries'
    )
    arguments.add_optimize(parser)


def run(args: argparse.Namespace) -> None:
    if (args.checkpoint is None) == (args.model is None):
        raise UserError('test: name either a checkpoint or an exported file, --model FILE')
    say(f'test {args.config} {args.model or args.checkpoint}')
    if args.tta and args.model is not None:
        raise UserError('--tta: an exported file tests every image as it is. Name a checkpoint.')
    if args.out and not args.out.endswith(('.pkl', '.pickle', '.json')):
        raise UserError(f'--out {args.out}: name a .pkl file, or a .json file for COCO results')
    draft = draft_config(args.config, args.cfg_options)
    if args.show_dir:
        draw_into(draft.cfg, args.show_dir)
    else:
        draw_nothing(draft.cfg)
    preflight.check_drawing(draft.cfg, 'test')
    preflight.check_backends(draft.cfg)
    preflight.check_data(draft.cfg, 'test')
    if args.model is not None:
        check_file(args.model, '--model')
    else:
        preflight.check_file(args.checkpoint)
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

        put_in_place(cfg, args.model, trusted=args.trust)
    if args.optimize:
        optimize = dict(type='mmdet_dab.OptimizeForInferenceHook', dtype=args.optimize)
        cfg.custom_hooks = [*cfg.custom_hooks, optimize]
    if args.tta:
        from mmdet_dab.interop.detr_tta import mirror_in_test

        mirror_in_test(cfg)
    runner = launch.build_runner(cfg, args.launcher)
    if args.report:
        from mmdet_dab.analysis.report import of_test

        of_test.attach(runner, args.report, f'{Path(args.config).name}, {Path(args.model or args.checkpoint).name}')
    from mmdet_dab.data.checks.damaged import damaged_images_named, datasets_of

    output = writing(runner, args.out) if args.out else nullcontext()
    with output, config_blamed(cfg), damaged_images_named(datasets_of(runner)), launch.failures_named(runner):
        runner.test()
    for name, path in (('predictions', args.out), ('images', args.show_dir)):
        if path:
            say(f'{name}  {path}')


@contextmanager
def writing(runner: Runner, path: str) -> Iterator[None]:
    """Let a test write its predictions.

    Raises:
        ConfigError: no metric of the config knows the ids of COCO.
    """
    from mmdet.evaluation import CocoMetric, DumpDetResults

    if not path.endswith('.json'):
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=path))
        yield
        return
    coco = [metric for metric in runner.test_evaluator.metrics if isinstance(metric, CocoMetric)]
    if not coco:
        raise ConfigError(
            '--out: COCO results are written by a CocoMetric, which test_evaluator has not got: name a .pkl'
        )
    coco[0].outfile_prefix = path
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    yield
    written = Path(f'{path}.bbox.json')  # of several processes, the first one writes
    if written.is_file():
        written.replace(path)


def draw_nothing(cfg: Config) -> None:
    """Turn drawing off. mmdet's hook would draw every image, which takes as long as predicting."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is not None:
        hook.update(draw=False)


def draw_into(cfg: Config, folder: str) -> None:
    """Turn drawing on. The hook joins a relative folder to itself at every image, so it gets an
    absolute one.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(f'--show-dir: config {cfg.filename} has no default_hooks.visualization to draw with')
    hook.update(draw=True, test_out_dir=str(Path(folder).resolve()))
