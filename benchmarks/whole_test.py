"""A whole test, from image files to AP, with mmdet's Runner: loading, resizing, prediction,
evaluation, drawing.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

#: Sizes of images in COCO, (width, height).
SIZES = ((640, 480), (640, 427), (480, 640), (640, 480), (500, 375), (427, 640))
OBJECTS = 7


def draw(folder: Path, number: int) -> None:
    """Images as COCO has them, with boxes of random classes, and their annotations."""
    random, images, annotations = np.random.default_rng(0), [], []
    for index in range(number):
        width, height = SIZES[index % len(SIZES)]
        coarse = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(OBJECTS):
            w, h = (int(side) for side in random.integers(20, 200, 2))
            x, y = int(random.integers(width - w)), int(random.integers(height - h))
            cv2.rectangle(image, (x, y), (x + w, y + h), random.integers(0, 256, 3).tolist(), -1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index,
                    category_id=int(random.integers(1, 81)),
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
        cv2.imwrite(str(folder / f'{index}.jpg'), image)
        images.append(dict(id=index, file_name=f'{index}.jpg', width=width, height=height))
    from mmdet.datasets import CocoDataset

    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CocoDataset.METAINFO['classes'])]
    (folder / 'annotations.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


def first(annotations: Path, number: int, out: Path) -> None:
    """Write COCO annotations of the first images of a file."""
    data = json.loads(annotations.read_text())
    data['images'] = data['images'][:number]
    chosen = {image['id'] for image in data['images']}
    data['annotations'] = [each for each in data['annotations'] if each['image_id'] in chosen]
    out.write_text(json.dumps(data))


def point_to(config: Any, folder: Path, annotations: Path, work_dir: str) -> None:
    """Let a config test the images of the folder."""
    config.test_dataloader.dataset.update(data_root='', ann_file=str(annotations), data_prefix=dict(img=str(folder)))
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    config.test_evaluator.ann_file = str(annotations)
    config.work_dir = work_dir
    config.log_level = 'ERROR'
    config.model.backbone.init_cfg = None
    config.load_from = None
    config.default_scope = 'mmdet'


def whole_test(build: Callable[[str], nn.Module], folder: Path | None, number: int, dtype: str | None) -> Any:
    """Test all images once.

    Args:
        build: mmdet's model or ours.
        folder: with images and ``annotations.json``, in COCO's format; None: they are drawn.
        number: images, at most.
        dtype: None for mmdet's, else the precision of ``--optimize``.
    """
    from mmengine.hub import get_config
    from mmengine.runner import Runner

    weights = build('r50').state_dict()
    from mmdet_dab.commands.test import draw_nothing
    from mmdet_dab.config import load_config

    temporary = tempfile.TemporaryDirectory()
    images = Path(temporary.name) if folder is None else folder
    annotations = Path(temporary.name) / 'annotations.json'
    if folder is None:
        draw(images, number)
    else:
        first(folder / 'annotations.json', number, annotations)
    if dtype is None:
        config = get_config('mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py')
    else:
        config = load_config('configs/dab_detr_r50_50e.py', {})
        draw_nothing(config)
        config.custom_hooks = [
            *config.custom_hooks,
            dict(type='mmdet_dab.OptimizeForInferenceHook', dtype=dtype),
        ]
    point_to(config, images, annotations, temporary.name)
    runner = Runner.from_cfg(config)
    runner.model.load_state_dict(weights)
    seconds: Counter[str] = Counter()
    loop = runner.test_loop

    def step() -> None:
        seconds.clear()
        with timed(seconds, loop.evaluator), timed_drawing(seconds, runner):
            runner.test()

    return step, lambda: (temporary.cleanup(), dict(seconds))[1]


@contextmanager
def timed(seconds: Counter[str], evaluator: Any) -> Iterator[None]:
    """Count the time of evaluation."""
    originals = {name: getattr(evaluator, name) for name in ('process', 'evaluate')}
    for name, original in originals.items():
        setattr(evaluator, name, partial(_booked, seconds, 'evaluation', original))
    yield
    for name in originals:
        delattr(evaluator, name)


@contextmanager
def timed_drawing(seconds: Counter[str], runner: Any) -> Iterator[None]:
    """Count the time of the hook that draws."""
    hooks = [hook for hook in runner.hooks if 'Visualization' in type(hook).__name__]
    for hook in hooks:
        hook.after_test_iter = partial(_booked, seconds, 'drawing', hook.after_test_iter)
    yield
    for hook in hooks:
        del hook.after_test_iter


def _booked(seconds: Counter[str], name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    start = time.perf_counter()
    result = function(*args, **kwargs)
    seconds[name] += time.perf_counter() - start
    return result
