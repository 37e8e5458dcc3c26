"""The sound files that are broken: drawn images, annotations, a config and a trained checkpoint."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.side_by_side import ROOT

CLASSES = ('square', 'bar')
SIDE = 64
CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py', '{root}/configs/_base_/models/dab_detr_r50.py']
data_root = {data!r}
metainfo = dict(classes={classes!r})
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
dataset = dict(
    type='CocoDataset',
    metainfo=metainfo,
    data_root=data_root,
    ann_file='all.json',
    data_prefix=dict(img='images/'),
    pipeline=pipeline,
)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dataset
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'all.json', metric='bbox')
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[1], by_epoch=True)]
train_cfg = dict(type='ResumableEpochLoop', max_epochs=2, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=1, save_best='coco/bbox_mAP'))
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.01)]
log_level = 'ERROR'
model = dict(
    embed_dims=64,
    hidden_dims=128,
    backbone=dict(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1, norm_cfg=dict(type='BN'), init_cfg=None
    ),
    neck=dict(in_channels=[64]),
    num_classes={num_classes},
    num_queries=10,
    encoder=dict(num_layers=1),
    decoder=dict(num_layers=2),
    bbox_head=dict(selection=dict(max_per_img=10)),
)
"""


@dataclass(frozen=True)
class Task:
    """A folder with ``images/``, ``all.json``, ``tiny.py`` and, once trained, ``good.pth``."""

    folder: Path

    @property
    def config(self) -> Path:
        """The config."""
        return self.folder / 'tiny.py'

    @property
    def checkpoint(self) -> Path:
        """After one epoch of two, with averaged weights."""
        return self.folder / 'good.pth'

    @property
    def image(self) -> Path:
        """One of the images."""
        return self.folder / 'images' / '0.png'

    def annotations(self) -> dict:
        """Content of the annotation file."""
        return json.loads((self.folder / 'all.json').read_text())


def draw(folder: Path, number: int = 6, classes: tuple[str, ...] = CLASSES) -> Task:
    """Draw images with an object each, and write annotations and config."""
    (folder / 'images').mkdir(parents=True)
    images, annotations = [], []
    for index in range(number):
        label = index % len(classes)
        width, height = ((20, 20), (40, 8))[label % 2]
        image = np.full((SIDE, SIDE, 3), 200 * index // number, np.uint8)
        cv2.rectangle(image, (10, 20), (10 + width, 20 + height), (255, 100 * (label % 2), 0), -1)
        cv2.imwrite(str(folder / 'images' / f'{index}.png'), image)
        images.append(dict(id=index, file_name=f'{index}.png', width=SIDE, height=SIDE))
        box = dict(bbox=[10, 20, width, height], area=width * height, iscrowd=0)
        annotations.append(dict(id=index + 1, image_id=index, category_id=label + 1, **box))
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(classes)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'all.json').write_text(json.dumps(content))
    task = Task(folder)
    text = CONFIG.format(root=ROOT, data=f'{folder}/', classes=classes, num_classes=len(classes))
    task.config.write_text(text)
    return task


def train(task: Task) -> Task:
    """Train one epoch, for a checkpoint with everything in it."""
    from mmdet_dab import cli

    work = task.folder / 'work'
    options = ['--work-dir', str(work), '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    code = cli.main(['train', str(task.config), *options])
    if code:
        raise RuntimeError(f'the sound training run ended with {code}')
    os.replace(work / 'epoch_1.pth', task.checkpoint)
    return task
