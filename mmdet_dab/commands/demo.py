"""Train a small detector on drawn images, evaluate it, and draw what it detects.

Nothing is downloaded. Run again, it resumes where it was interrupted, or says that it is done.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

CONFIG = 'shapes/demo'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--config', default=CONFIG, help='config on SyntheticShapes')
    parser.add_argument('--work-dir', default=str(Path('work_dirs') / 'demo'), help='folder for everything')
    parser.add_argument('--images', '--pictures', type=int, default=9, help='how many images are drawn')
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    if args.images < 1:
        raise UserError(f'--images {args.images}: give at least 1')
    say(f'demo: {args.config} → {args.work_dir}')
    draft = draft_config(args.config, args.cfg_options)
    preflight.check_backends(draft.cfg)
    preflight.check_schedule(draft.cfg)
    say('loading PyTorch and MMDetection …')
    cfg = draft.finish()
    cfg.work_dir = args.work_dir
    folder = Path(args.work_dir)
    checkpoint = folder / f'iter_{cfg.train_cfg.max_iters}.pth'
    train(cfg, checkpoint)
    runner = trained(cfg, checkpoint)
    metrics = runner.test()
    draw(runner, folder, args.images)
    print(f'\ncheckpoint  {checkpoint}')
    print(f'detections  {folder / "detections.png"}')
    print(f'curve       {folder / "curve.png"}')
    print(f'an image    {folder / "image.png"}')
    print(f'next        mmdet-dab infer {folder / "image.png"} {args.config} {checkpoint}\n')
    for name, value in metrics.items():
        print(f'{name.removeprefix("coco/")}: {value:.3f}')


def train(cfg: Config, checkpoint: Path) -> None:
    """Train, unless ``checkpoint`` is there already."""
    import torch

    from mmdet_dab import launch

    if checkpoint.exists():
        print(f'{checkpoint} is there: the training is done (delete {cfg.work_dir} to repeat it)')
        return
    with launch.training_lock(cfg):
        latest = launch.latest_checkpoint(cfg.work_dir)
        if latest is not None:
            print(f'resuming from {latest}')
            preflight.check_checkpoint(latest)
            cfg.resume, cfg.load_from = True, latest
        runner = launch.build_runner(cfg)
        start = time.time()
        runner.train()
    print(f'trained in {(time.time() - start) / 60:.1f} minutes on {torch.get_num_threads()} CPU thread(s)')


def trained(cfg: Config, checkpoint: Path) -> Runner:
    """The Runner that evaluates ``checkpoint``, whose weights are the average where there is one.

    A Runner that has just trained would begin a new average from the weights of the last step.
    """
    from mmdet_dab import launch

    preflight.check_checkpoint(str(checkpoint))
    cfg.resume, cfg.load_from = False, str(checkpoint)
    launch.drop_averaging(cfg)
    return launch.build_runner(cfg)


def draw(runner: Runner, folder: Path, count: int) -> None:
    """Draw the first held-out images with ground truth and detections, and write one as it is."""
    import mmcv
    import torch

    from mmdet_dab.analysis import curves, figures, scalars

    dataset = runner.test_dataloader.dataset
    count = min(count, len(dataset))
    batch = runner.test_dataloader.collate_fn([dataset[index] for index in range(count)])
    runner.model.eval()
    with torch.no_grad():
        samples = [sample.cpu() for sample in runner.model.test_step(batch)]
    images = [dataset.get_data_info(index)['img'] for index in range(count)]
    mmcv.imwrite(images[0], str(folder / 'image.png'))
    meta = dataset.metainfo
    rgb = [image[..., ::-1] for image in images]
    figures.draw_detections(folder / 'detections.png', rgb, samples, meta['classes'], meta['palette'])
    curves.draw_curves([folder / 'curve.png'], [scalars.read_log(folder)])
