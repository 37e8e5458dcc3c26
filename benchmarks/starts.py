"""Runs that the studies of starts have in common: the small model from random weights and from
ImageNet's, and parts that are said to pay, one at a time, on the recipe of ``new-data``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

#: Of CPU time, for every run of these studies: enough for the start from ImageNet to be of use.
MINUTES = 1.5
EQUAL_TIME = f' As many steps as fit into {MINUTES} minutes of CPU time, by a trial before every run.'
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
#: Half of the images are parts of one, as in ``configs/_base_/recipes/few_images.py``.
CROP = dict(
    type='RandomApply',
    transforms=[dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.7, 0.7))],
    prob=0.5,
)
KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
#: In the first layer anchors know nothing of the image yet, and queries see all of it.
INSIDE = dict(type='AnchorMaskedCrossAttention')
#: Options for a training run on a CPU that computes in it.
BFLOAT16 = {'optim_wrapper.type': 'CPUAmpOptimWrapper'}
#: The loss of the paper, which the recipe from ImageNet had before the study of parts.
FOCAL = dict(type='SigmoidFocalLoss', _delete_=True)
#: The parts: where in the model of ``from_imagenet.py`` they stand, and their settings.
PARTS: dict[str, dict[str, dict]] = {
    # Anchors start on a grid: further groups need a jitter to become others.
    '3 groups of queries': {'query_generator.generator': dict(type='GroupQueryGenerator', num_groups=3, jitter=0.5)},
    'keys inside the anchor': {
        'decoder.layer.cross_attention': INSIDE,
        'decoder.first_layer.cross_attention': dict(INSIDE, reach=None),
    },
    'matchability loss': {'bbox_head.loss_cls': dict(type='mmdet_dab.MatchabilityLoss', _delete_=True)},
    'every label twice': {'bbox_head.matcher': dict(type='RepeatedMatcher')},
}
#: Parts that stand around what was there, and the argument that takes it.
AROUND = {'GroupQueryGenerator': 'generator', 'RepeatedMatcher': 'matcher'}


def with_parts(cfg: Config, names: Sequence[str]) -> Config:
    """The same config with parts of ``PARTS``.

    Args:
        cfg: with the model of a recipe in ``configs/_base_/recipes``; it is changed.
        names: of the parts.
    """
    for name in names:
        for place, part in PARTS[name].items():
            path = f'model.{place}'
            if (argument := AROUND.get(part['type'])) is not None:
                part = dict(part, **{argument: functools.reduce(getattr, path.split('.'), cfg)}, _delete_=True)
            cfg.merge_from_dict({path: part})
    return cfg


@dataclass(frozen=True)
class Dataset:
    """A dataset below ``data/``, and the numbers that ``new-data`` writes for it.

    Attributes:
        train_images, train_annotations, val_images, val_annotations: relative to ``data/``.
        scale: width and height that images are squeezed to.
        radius: half the size of the median object, in parts of the image.
        flip: how images are flipped.
        sliver: sides of what is left of an object at the border, in pixels, if it is left out.
    """

    classes: Sequence[str]
    train_images: str
    train_annotations: str
    val_images: str
    val_annotations: str
    scale: tuple[int, int]
    num_queries: int
    learning_rate: float
    radius: float
    flip: dict[str, Any] = field(default_factory=lambda: dict(prob=0.5))
    sliver: int = 2

    def options(self) -> dict[str, Any]:
        """What a recipe in ``configs/_base_/recipes`` lacks, but for the length."""
        resize = dict(type='Resize', scale=self.scale, keep_ratio=False)
        flip = dict(type='RandomFlip', **self.flip)
        no_slivers = dict(type='FilterAnnotations', min_gt_bbox_wh=(self.sliver, self.sliver), keep_empty=False)
        metainfo = dict(classes=tuple(self.classes))
        val_annotations = f'data/{self.val_annotations}'
        val = {
            'dataset.metainfo': metainfo,
            'dataset.ann_file': val_annotations,
            'dataset.data_prefix': dict(img=f'data/{self.val_images}'),
            'dataset.pipeline': [LOAD[0], resize, LOAD[1], dict(type='PackDetInputs', meta_keys=KEYS)],
            'batch_size': 4,
        }
        train = {
            'dataset.metainfo': metainfo,
            'dataset.ann_file': f'data/{self.train_annotations}',
            'dataset.data_prefix': dict(img=f'data/{self.train_images}'),
            'dataset.pipeline': [*LOAD, CROP, resize, flip, no_slivers, dict(type='PackDetInputs')],
            'batch_size': 4,
        }
        return {
            **{f'train_dataloader.{key}': value for key, value in train.items()},
            **{f'val_dataloader.{key}': value for key, value in val.items()},
            'val_evaluator.ann_file': val_annotations,
            'model.num_classes': len(self.classes),
            'model.query_generator.generator.num_queries': self.num_queries,
            'model.decoder.layer.cross_attention.init_cfg.radius': self.radius,
            'model.bbox_head.selection.max_per_img': 100,
            'optim_wrapper.optimizer.lr': self.learning_rate,
        }


CARDS = Dataset(
    classes=('ace', 'jack', 'king', 'nine', 'queen', 'ten'),
    train_images='cards/train/',
    train_annotations='cards/annotations/train.json',
    val_images='cards/test/',
    val_annotations='cards/annotations/val.json',
    scale=(176, 192),
    num_queries=20,
    learning_rate=4e-4,
    radius=0.17,
)
CELLS = Dataset(
    classes=('RBC', 'WBC', 'Platelets'),
    train_images='bccd/images/',
    train_annotations='bccd/annotations/train.json',
    val_images='bccd/images/',
    val_annotations='bccd/annotations/val.json',
    scale=(256, 192),
    num_queries=60,
    learning_rate=1e-3,
    radius=0.094,
)
CHESS = Dataset(
    classes=('king', 'queen', 'rook', 'bishop', 'knight', 'pawn'),
    train_images='chess/train/images/',
    train_annotations='chess/train/annotations.json',
    val_images='chess/val/images/',
    val_annotations='chess/val/annotations.json',
    scale=(320, 272),
    num_queries=20,
    learning_rate=6e-4,
    radius=0.079,
)


def in_epochs(number: int, val_interval: int) -> dict[str, Any]:
    """Options for a training run of so many epochs, as ``new-data`` writes them."""
    warm_up = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100)
    cosine = dict(type='CosineAnnealingLR', begin=0, end=number, eta_min_ratio=0.01, convert_to_iter_based=True)
    return {
        'train_cfg.max_epochs': number,
        'train_cfg.val_interval': val_interval,
        'param_scheduler': [warm_up, cosine],
        'default_hooks.ema.momentum': 0.002,
    }


def starts(dataset: Dataset) -> dict[str, dict]:
    """Random weights, and those of ImageNet, both with the focal loss."""
    options = {**dataset.options(), 'model.bbox_head.loss_cls': FOCAL}
    recipes = 'configs/_base_/recipes'
    return {
        'random weights': dict(config=f'{recipes}/from_scratch.py', options=options),
        'ImageNet': dict(config=f'{recipes}/from_imagenet.py', options=options),
    }


def with_each_part(dataset: Dataset) -> dict[str, dict]:
    """The start from ImageNet alone, with each of ``PARTS``, with all of them, and in bfloat16."""
    plain = starts(dataset)['ImageNet']
    runs = {'plain': plain, **{name: dict(plain, parts=[name]) for name in PARTS}}
    runs['all of these'] = dict(plain, parts=list(PARTS))
    return {**runs, 'bfloat16': dict(plain, options={**plain['options'], **BFLOAT16})}


def in_the_time_of(steps: int) -> str:
    """What a study of parts says of the time that its runs get."""
    return f'the CPU time of {steps} steps of the plain recipe, about 90 seconds.'
