"""Trainings of seconds: six drawn pictures, a tiny detector, and the two hooks that watch over it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmdet_dab.config import load_config
from mmdet_dab.launch import build_runner
from tests.helpers import tiny
from tests.helpers.tiny_task import CLASSES, make_task

#: With 25 queries, one of them covers the square (20 pixels of 64).
ANCHORS = dict(type='mmdet_dab.GridAnchors', size=0.31)


@TRANSFORMS.register_module()
class Spoil:
    """Stands at the end of a pipeline and puts a value that is no number into one file, once it came a few times."""

    def __init__(self, file: str, what: str = 'pixels', after: int = 0) -> None:
        self.file, self.what, self.after = file, what, after
        self.seen = 0

    def __call__(self, results: dict) -> dict:
        sample = results['data_samples']
        results['inputs'] = results['inputs'].float()
        if Path(sample.img_path).name == self.file:
            self.seen += 1
            if self.seen > self.after and self.what == 'pixels':
                results['inputs'][0, 5, 5] = float('nan')
            elif self.seen > self.after:
                sample.gt_instances.bboxes.tensor[0, 2] = float('nan')
        return results


def pipeline_with(*transforms: dict, last: Sequence[dict] = ()) -> dict:
    """The override for a pipeline with further transforms of pictures, and ``last`` ones of packed samples."""
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    return dict(dataset=dict(pipeline=[*load, resize, *transforms, dict(type='PackDetInputs'), *last]))


def config_of(folder: Path, **overrides: Any) -> Config:
    """A training of 12 steps of two pictures, judged after every sixth, with a checkpoint after every fourth step."""
    task = make_task(folder)
    config = load_config(str(task.config), {'data_root': str(task.data_root)})
    # Six pictures in the order of their names, 0 and 1, 2 and 3, 4 and 5.
    config.train_dataloader.sampler.shuffle = False
    config.model = tiny.tiny_config(bbox_head=dict(num_classes=len(CLASSES)))
    config.model.query_generator.update(num_queries=25, initial_anchors=ANCHORS)
    for split in ('val', 'test'):
        for part in ('cfg', 'dataloader', 'evaluator'):
            config.pop(f'{split}_{part}')
    config.merge_from_dict(
        dict(
            work_dir=str(folder / 'work'),
            train_cfg=dict(max_epochs=4),
            param_scheduler=None,
            optim_wrapper=dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=0.1)),
            default_hooks=dict(
                not_finite=dict(type='mmdet_dab.NotFiniteHook'),
                training_watch=dict(type='mmdet_dab.TrainingWatchHook', steps=6, interval=1),
                checkpoint=dict(by_epoch=False, interval=4, save_best=None),
            ),
        )
    )
    config.merge_from_dict(overrides)
    return config


def warnings_during(runner: Runner) -> list[str]:
    """Train; the alarms that were logged."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        runner.train()
    finally:
        logger.removeHandler(handler)
    return [record.getMessage() for record in records if 'ATTENTION' in record.getMessage()]


def alarms_of(folder: Path, **overrides: Any) -> list[str]:
    """The alarms of a training of six steps with a config that differs by ``overrides``."""
    config = config_of(folder, **overrides)
    config.train_cfg.max_epochs = 2
    config.default_hooks.checkpoint.interval = 100
    return warnings_during(build(config))


def build(config: Config, launcher: str = 'none') -> Runner:
    """The Runner; one thread."""
    torch.set_num_threads(1)
    return build_runner(config, launcher)
