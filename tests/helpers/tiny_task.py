"""A detection task small enough to train in seconds: six drawn pictures and a tiny detector."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.paths import ROOT

CLASSES = ('square', 'bar')
#: The model of the tests, a config file with a `bbox_head.num_classes` of 2.
MODEL = Path(__file__).with_name('tiny_model.py')

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py', '{model}']
data_root = 'data/tiny/'
metainfo = dict(classes={classes})
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/all.json',
        data_prefix=dict(img='images/'),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/all.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/all.json', metric='bbox')
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[1], by_epoch=True)]
train_cfg = dict(type='ResumableEpochLoop', max_epochs=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(logger=dict(interval=1), visualization=dict(interval=2, score_thr=0.0))
auto_scale_lr = dict(base_batch_size=4)
"""


@dataclass(frozen=True)
class Task:
    """A config whose data lies elsewhere than the config says: only the override of its data root finds it."""

    config: Path
    data_root: Path

    @property
    def options(self) -> list[str]:
        return ['--cfg-options', f'data_root={self.data_root}']


def make_task(folder: Path) -> Task:
    """Draw the pictures and write their truth and the config."""
    data_root = folder / 'drawn'
    (data_root / 'images').mkdir(parents=True)
    (data_root / 'annotations').mkdir()
    images, annotations = [], []
    for number in range(6):
        label, (width, height) = number % 2, ((20, 20), (40, 8))[number % 2]
        picture = np.full((64, 64, 3), 40 * number, np.uint8)
        cv2.rectangle(picture, (10, 20), (10 + width, 20 + height), (255, 128 * label, 0), -1)
        cv2.imwrite(str(data_root / 'images' / f'{number}.png'), picture)
        images.append(dict(id=number, file_name=f'{number}.png', width=64, height=64))
        box = dict(bbox=[10, 20, width, height], area=width * height, iscrowd=0)
        annotations.append(dict(id=number + 1, image_id=number, category_id=label + 1, **box))
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CLASSES)]
    truth = dict(images=images, annotations=annotations, categories=categories)
    (data_root / 'annotations' / 'all.json').write_text(json.dumps(truth))
    config = folder / 'tiny.py'
    config.write_text(CONFIG.format(root=ROOT, model=MODEL, classes=CLASSES))
    return Task(config, data_root)
