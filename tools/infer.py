"""Draw predictions on pictures: ``python tools/infer.py IMAGES CONFIG CHECKPOINT --out-dir DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The tools use the package of their own checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmdet_dab  # noqa: F401  (makes mmdet importable without a compiled mmcv)

# isort: split
import torch
from mmdet.apis import DetInferencer
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmengine.config import Config

from mmdet_dab import cli, optimize_for_inference


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the predictions of a detector on pictures.')
    parser.add_argument('images', help='a picture, or a folder of pictures')
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file; the class names in it are the ones drawn')
    parser.add_argument('--out-dir', default='outputs', help='pictures go to its vis/, boxes as JSON to its preds/')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score that is drawn')
    parser.add_argument('--batch-size', type=int, default=1, help='pictures in one forward pass')
    parser.add_argument('--device', help='such as cuda:0 or cpu; default: a GPU where there is one')
    cli.add_optimize_argument(parser)
    return parser.parse_args()


def check_images(path: Path) -> None:
    if not path.exists():
        raise cli.UsageError(f'{path} does not exist: name a picture or a folder of pictures')
    if path.is_dir() and not any(file.suffix.lower() in IMG_EXTENSIONS for file in path.iterdir()):
        raise cli.UsageError(f'folder {path} holds no picture ({", ".join(IMG_EXTENSIONS)})')


def read_files(cfg: Config) -> None:
    """The pictures are files here, also for a detector that was trained on arrays."""
    first = cfg.test_dataloader.dataset.pipeline[0]
    if first['type'].endswith('LoadImageFromNDArray'):
        first['type'] = 'LoadImageFromFile'


def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args.config, args.cfg_options)
    check_images(Path(args.images))
    read_files(cfg)
    cli.check_checkpoint(args.checkpoint)
    inferencer = DetInferencer(cfg, args.checkpoint, device=args.device)
    if args.optimize:
        optimize_for_inference(inferencer.model, getattr(torch, args.optimize))
    inferencer(
        args.images,
        batch_size=args.batch_size,
        pred_score_thr=args.score_thr,
        out_dir=args.out_dir,
        no_save_pred=False,
    )


if __name__ == '__main__':
    cli.run(main)
