"""Training runs of seconds that are cut off where a test wants it, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from mmdet_dab.config import load_config
from mmdet_dab.launch import latest_checkpoint
from tests.helpers import tiny
from tests.helpers.tiny_task import CLASSES, make_task
from tests.helpers.training import build


def interrupted_config(folder: Path, loop: str = 'epoch', **overrides: Any) -> Config:
    """Twelve steps of two images in four epochs: augmented, with denoising and averaged weights.

    It saves after every second step, and validates after every third.
    """
    task = make_task(folder) if not (folder / 'drawn').exists() else None
    config = load_config(str(folder / 'tiny.py' if task is None else task.config), {'data_root': str(folder / 'drawn')})
    config.model = tiny.tiny_config(bbox_head=dict(num_classes=len(CLASSES)))
    config.model.query_generator = dict(
        type='mmdet_dab.DenoisingQueryGenerator',
        generator=config.model.query_generator,
        num_classes=len(CLASSES),
        num_groups=2,
        embed_dims=tiny.WIDTH,
    )
    augment = [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')]
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_dataloader.dataset.pipeline = [*pipeline[:-1], *augment, dict(type='PackDetInputs')]
    if loop == 'epoch':
        config.train_cfg = dict(type='ResumableEpochLoop', max_epochs=4)
        config.param_scheduler = [dict(type='MultiStepLR', milestones=[2], by_epoch=True)]
    else:
        config.train_cfg = dict(type='ResumableIterLoop', max_iters=12, val_interval=3)
        config.param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
    config.custom_hooks = [*config.custom_hooks, dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1)]
    config.merge_from_dict(
        dict(
            optim_wrapper=dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=0.1)),
            log_processor=dict(by_epoch=loop == 'epoch'),
            default_hooks=dict(
                checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=4), visualization=dict(draw=False)
            ),
        )
    )
    config.merge_from_dict(overrides)
    return config


class Killed(BaseException):
    """Stands for a kill: nothing in between catches it, and nothing of the process is used again."""


class Bomb(Hook):
    """Ends a training run when a point of the Runner is met for the so-manieth time.

    Args:
        point: name of the method of a hook.
        times: how often it is met.
        priority: before or after which hooks.
    """

    def __init__(self, point: str, times: int, priority: str) -> None:
        self.priority = priority
        self.left = times
        setattr(self, point, self._count)

    def _count(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def train(config: Config, work_dir: Path, hook: Hook | None = None) -> None:
    """Train, from the newest checkpoint in ``work_dir`` if there is one, with one more hook."""
    config = config.copy()
    config.work_dir = str(work_dir)
    latest = latest_checkpoint(str(work_dir))
    config.resume, config.load_from = latest is not None, latest
    runner = build(config)
    if hook is not None:
        runner.register_hook(hook, hook.priority)
    runner.train()
