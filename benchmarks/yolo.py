"""Train Ultralytics' YOLO on a dataset in COCO's format for so many CPU minutes of one core, and
print AP, to compare with what ``mmdet-dab new-data`` writes.

It needs an environment of its own, and no part of this package::

    pip install ultralytics pycocotools
    python -m benchmarks.yolo data/bccd --minutes 25

DATA holds ``images/`` and ``annotations/{train,val}.json``. The detector starts from random
weights and has Ultralytics' own settings; only the length is ours: as many epochs as the time
buys, by a trial of two.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import time
from pathlib import Path

SPLITS = ('train', 'val')


def write_layout(data: Path, out: Path) -> Path:
    """Write images, labels and the description as YOLO wants them.

    Args:
        data: with ``images`` and ``annotations``.
        out: folder to write.

    Returns:
        the path of the description, a YAML file.
    """
    names: list[str] = []
    for split in SPLITS:
        content = json.loads((data / 'annotations' / f'{split}.json').read_text())
        names = [category['name'] for category in content['categories']]
        rows = {category['id']: row for row, category in enumerate(content['categories'])}
        objects = collections.defaultdict(list)
        for item in content['annotations']:
            objects[item['image_id']].append(item)
        for folder in ('images', 'labels'):
            (out / folder / split).mkdir(parents=True, exist_ok=True)
        for image in content['images']:
            link = out / 'images' / split / Path(image['file_name']).name
            if not link.exists():
                link.symlink_to((data / 'images' / image['file_name']).resolve())
            lines = [label(item, image, rows) for item in objects[image['id']]]
            (out / 'labels' / split / f'{link.stem}.txt').write_text('\n'.join(lines) + '\n')
    description = out / 'data.yaml'
    description.write_text(
        json.dumps(dict(path=str(out.resolve()), train='images/train', val='images/val', names=names))
    )
    return description


def label(item: dict, image: dict, rows: dict[int, int]) -> str:
    """A line of a label file: number of the class, cx, cy, w, h in parts of the image."""
    x, y, w, h = item['bbox']
    size = image['width'], image['height']
    box = (x + w / 2) / size[0], (y + h / 2) / size[1], w / size[0], h / size[1]
    return ' '.join([str(rows[item['category_id']]), *(f'{value:.6f}' for value in box)])


def train(description: Path, args: argparse.Namespace, epochs: int, name: str) -> tuple[list[float], Path]:
    """Train from random weights; the CPU seconds of every epoch, and the last weights."""
    from ultralytics import YOLO

    marks = [time.process_time()]
    model = YOLO(f'{args.model}.yaml')
    model.add_callback('on_train_epoch_end', lambda trainer: marks.append(time.process_time()))
    model.train(
        data=str(description), epochs=epochs, imgsz=args.pixels, seed=args.seed, device='cpu', workers=0,
        pretrained=False, val=False, plots=False, project=str(args.out.resolve()), name=name, exist_ok=True,
    )  # fmt: skip
    return [after - before for before, after in itertools.pairwise(marks)], Path(model.trainer.last)


def evaluate(weights: Path, args: argparse.Namespace) -> list[float]:
    """The twelve figures of COCO on val, as pycocotools computes them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from ultralytics import YOLO

    model = YOLO(str(weights))
    truth = COCO(str(args.data / 'annotations/val.json'))
    found = []
    for number, image in truth.imgs.items():
        path = args.data / 'images' / image['file_name']
        boxes = model.predict(str(path), imgsz=args.pixels, conf=0.001, device='cpu', verbose=False)[0].boxes
        for corners, score, row in zip(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True):
            box = [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]
            category = truth.dataset['categories'][int(row)]['id']
            found.append(dict(image_id=number, category_id=category, bbox=box, score=score))
    evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with images/ and annotations/{train,val}.json')
    parser.add_argument('--minutes', type=float, default=25, help='CPU time of the training run')
    parser.add_argument('--model', default='yolo11n')
    parser.add_argument('--pixels', type=int, default=320)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/yolo'))
    args = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    description = write_layout(args.data, args.out / 'data')
    seconds, _ = train(description, args, 2, 'trial')
    epochs = int(60 * args.minutes / seconds[-1])
    print(f'an epoch takes {seconds[-1]:.1f} s of CPU time: {epochs} epochs', flush=True)
    seconds, weights = train(description, args, epochs, 'run')
    figures = evaluate(weights, args)
    spent = f'{epochs} epochs, {sum(seconds) / 60:.1f} CPU minutes'
    print(f'{args.model}, {spent}: AP {figures[0]:.3f}, AP50 {figures[1]:.3f}')


if __name__ == '__main__':
    main()
