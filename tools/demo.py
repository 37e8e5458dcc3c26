"""Train a small DAB-DETR on drawn pictures and show what it finds: ``make demo``.

Nothing is downloaded. Run again, it goes on where it was interrupted, or says that it is done.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmcv
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_dab import cli
from mmdet_dab.analysis import figures

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'shapes' / 'dab_detr_shapes_5min.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train on drawn pictures, evaluate, and draw what was found.')
    parser.add_argument('--config', default=str(CONFIG), help='config on SyntheticShapes')
    parser.add_argument('--work-dir', default=str(Path('work_dirs') / 'demo'), help='where everything goes')
    parser.add_argument('--pictures', type=int, default=9, help='how many pictures are drawn')
    cli.add_override_argument(parser)
    return parser.parse_args()


def train(cfg: Config, checkpoint: Path) -> Runner:
    """Train, unless ``checkpoint`` is there already, which is loaded then."""
    if checkpoint.exists():
        print(f'{checkpoint} is there: the training is done (delete {cfg.work_dir} to repeat it)')
        cli.check_checkpoint(str(checkpoint))
        cfg.load_from = str(checkpoint)
        return cli.build_runner(cfg, 'none')
    latest = cli.latest_checkpoint(cfg.work_dir)
    if latest is not None:
        print(f'going on from {latest}')
        cli.check_checkpoint(latest)
        cfg.resume, cfg.load_from = True, latest
    runner = cli.build_runner(cfg, 'none')
    start = time.time()
    runner.train()
    print(f'trained in {(time.time() - start) / 60:.1f} minutes on {torch.get_num_threads()} CPU thread(s)')
    return runner


def draw(runner: Runner, folder: Path, count: int) -> None:
    """Detections of the first held-out pictures beside the truth, and the first of them as a plain picture."""
    dataset = runner.test_dataloader.dataset
    count = min(count, len(dataset))
    batch = runner.test_dataloader.collate_fn([dataset[index] for index in range(count)])
    runner.model.eval()
    with torch.no_grad():
        samples = [sample.cpu() for sample in runner.model.test_step(batch)]
    images = [dataset.get_data_info(index)['img'] for index in range(count)]
    mmcv.imwrite(images[0], str(folder / 'picture.png'))
    meta = dataset.metainfo
    rgb = [image[..., ::-1] for image in images]
    figures.draw_detections(folder / 'detections.png', rgb, samples, meta['classes'], meta['palette'])
    figures.draw_curve(folder / 'curve.png', figures.read_scalars(folder))


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir
    folder = Path(args.work_dir)
    checkpoint = folder / f'iter_{cfg.train_cfg.max_iters}.pth'
    runner = train(cfg, checkpoint)
    figures = runner.test()
    draw(runner, folder, args.pictures)
    print(f'\ncheckpoint  {checkpoint}')
    print(f'detections  {folder / "detections.png"}')
    print(f'curve       {folder / "curve.png"}')
    print(f'a picture   {folder / "picture.png"}\n')
    for name, value in figures.items():
        print(f'{name.removeprefix("coco/")}: {value:.3f}')


if __name__ == '__main__':
    cli.run(main)
