"""What a training run takes from a checkpoint, and what it puts into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.model import BaseAveragedModel
from mmengine.runner import IterBasedTrainLoop, Runner

from mmdet_dab.engine.loops import Place
from mmdet_dab.engine.schedule import Schedule
from mmdet_dab.engine.trust import (
    check_gradients,
    check_optimizer,
    check_resumable,
    check_schedulers,
    disarm,
    named,
)
from mmdet_dab.errors import CheckpointError, listed
from mmdet_dab.hooks.unwrapped import detector_of
from mmdet_dab.registry import HOOKS

#: What an early stop remembers of the results before.
PATIENCE = ('best_score', 'wait_count')


@HOOKS.register_module()
class ResumeHook(Hook):
    """Guards what comes from a checkpoint, and carries what MMEngine leaves out of one.

    It takes out of every checkpoint what would be run or deleted. One that a training run goes on
    from must be of the same model and optimizer. Where data, processes or the length of the
    training run have changed, it says what that does.

    Args:
        refit_schedule: put the learning rate where the schedule of the config has it; False goes on
            with the schedule of the checkpoint, and says so where they differ.

    Raises:
        CheckpointError: the checkpoint is damaged, or of another model; before anything is loaded.
    """

    # Before the hooks that use the checkpoint: those of fine-tuning and averaging.
    priority = 'HIGHEST'

    def __init__(self, refit_schedule: bool = False) -> None:
        self.refit_schedule = refit_schedule
        self._schedule: Schedule | None = None
        self._progress: Mapping[str, Any] | None = None
        self._resumed = False
        self._averages: list[tuple[EMAHook, BaseAveragedModel]] = []

    def before_run(self, runner: Runner) -> None:
        """Remember the schedule of the config."""
        if isinstance(runner._train_loop, Place):
            self._schedule = Schedule(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check it before the Runner uses it."""
        folders = [runner.work_dir]
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and isinstance(hook.out_dir, str):
                folders.append(f'{hook.out_dir}/{runner.work_dir.rstrip("/").rsplit("/", 1)[-1]}')
        with named(runner._load_from):
            disarm(checkpoint, folders)
            if runner._resume:
                self._check(runner, checkpoint)
        if runner._resume:
            self._go_on(runner, checkpoint)

    def _check(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse one that this training run cannot go on from."""
        model = detector_of(runner)
        check_resumable(checkpoint, model)
        if 'optimizer' in checkpoint:
            check_optimizer(checkpoint['optimizer'], runner.optim_wrapper, model)
        if 'param_schedulers' in checkpoint and runner.param_schedulers is not None:
            check_schedulers(checkpoint['param_schedulers'], runner.param_schedulers)
        check_gradients(checkpoint.get('gradients'), model)
        self._check_classes(runner, checkpoint['meta'])

    def _go_on(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take what MMEngine leaves out."""
        self._resumed = True
        self._progress = checkpoint['meta'].get('progress')
        if self._progress is not None and isinstance(runner.train_loop, Place):
            runner.train_loop.go_on(self._progress)
            self._take_gradients(runner, checkpoint.get('gradients'))
            for hook in runner.hooks:
                if isinstance(hook, EarlyStoppingHook):
                    vars(hook).update({name: self._progress[name] for name in PATIENCE if name in self._progress})

    def before_train(self, runner: Runner) -> None:
        """Say what the changes since the checkpoint do; refit the schedule where that is asked for."""
        if not self._resumed:
            return
        if not isinstance(runner.train_loop, Place):
            runner.logger.warning(
                f'{type(runner.train_loop).__name__} starts again at the beginning of an epoch or with other random '
                "numbers: train_cfg.type='ResumableEpochLoop' or 'ResumableIterLoop' goes on exactly"
            )
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            key, done, total = 'max_iters', runner.iter, runner.max_iters
        else:
            key, done, total = 'max_epochs', runner.epoch, runner.max_epochs
        if done >= total:
            runner.logger.warning(
                f'nothing is left to train: the checkpoint is at {done:,} of train_cfg.{key}={total:,}. To train on, '
                f'raise {key}'
            )
        for text in self._differences(runner):
            runner.logger.warning(text)
        self._follow_schedule(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the place in the training run into the checkpoint."""
        if not isinstance(runner._train_loop, Place):
            return
        progress = runner._train_loop.progress()
        for hook in runner.hooks:
            if isinstance(hook, EarlyStoppingHook):
                progress.update({name: getattr(hook, name) for name in PATIENCE})
        checkpoint['meta']['progress'] = progress
        if 'optimizer' in checkpoint and runner._train_loop.gradients is not None:
            checkpoint['gradients'] = runner._train_loop.gradients

    def after_train(self, runner: Runner) -> None:
        """Keep the averaged weights: ``runner.test()`` would start its hooks anew, and average from
        the last weights on.
        """
        self._averages = [(hook, hook.ema_model) for hook in runner.hooks if isinstance(hook, EMAHook)]

    def before_val(self, runner: Runner) -> None:
        """What was averaged is what is validated."""
        for hook, average in self._averages:
            hook.ema_model = average

    def before_test(self, runner: Runner) -> None:
        """The same."""
        self.before_val(runner)

    def after_val(self, runner: Runner) -> None:
        """Note it, before the checkpoint of this step is written again."""
        if isinstance(runner._train_loop, Place):
            runner._train_loop.validated = True

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """A signal does not wait for the end of a validation."""
        if isinstance(runner._train_loop, Place):
            runner._train_loop.cut_off_validation()

    def _take_gradients(self, runner: Runner, gradients: Any) -> None:
        """Those that were gathered and not yet used, of this process."""
        if gradients is None:
            return
        if len(gradients) == runner.world_size:
            runner.train_loop.gradients = gradients
        else:
            runner.logger.warning(
                f'the checkpoint has gathered gradients of {len(gradients)} processes, and {runner.world_size} go on: '
                'they are left out, and the next update takes fewer images'
            )

    def _check_classes(self, runner: Runner, meta: Mapping[str, Any]) -> None:
        """Other classes are for ``load_from``: the optimizer belongs to those of the checkpoint."""
        before = (meta.get('dataset_meta') or {}).get('classes')
        now = getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('classes')
        if before is not None and now is not None and tuple(before) != tuple(now):
            raise CheckpointError(
                f'--resume goes on with the same classes in the same order: the checkpoint has {listed(before, 4)}, '
                f'the dataset {listed(now, 4)}. For other classes leave --resume out and name it as load_from'
            )

    def _differences(self, runner: Runner) -> list[str]:
        """Sentences on what was otherwise when the checkpoint was written."""
        loop = runner.train_loop
        if self._progress is None or not isinstance(loop, Place):
            return []
        before, now = self._progress, loop.progress()
        texts = []
        was, is_now = (f'{place["processes"]} × {place["batch_size"]}' for place in (before, now))
        if before['processes'] * before['batch_size'] != now['processes'] * now['batch_size']:
            texts.append(
                f'a step takes {is_now} images (processes × batch size), it took {was}: the data goes on behind image '
                f'{loop.images:,} in the same order, the learning rate stays that of the checkpoint'
            )
        elif was != is_now:
            texts.append(
                f'a step takes {is_now} images (processes × batch size), it took {was}: the same images in every '
                'step; noise of denoising and rounding differ'
            )
        for key in ('max_epochs', 'max_iters'):
            if before.get(key) != now[key] and key in runner.cfg.get('train_cfg', {}):
                texts.append(f'train_cfg.{key} is {now[key]:,}, it was {before.get(key)}: training ends then')
        return texts

    def _follow_schedule(self, runner: Runner) -> None:
        changed = self._schedule.changed() if self._schedule is not None else []
        if self.refit_schedule and self._schedule is not None:
            self._schedule.refit(runner.iter, runner.epoch, len(runner.train_dataloader))
            runner.logger.info('the learning rate follows the schedule of the config')
        elif changed:
            runner.logger.warning(
                f'the learning rate follows the schedule of the checkpoint, not that of the config, and stays constant '
                f'once that has ended: {listed(changed, 3)}. --refit-schedule follows the config'
            )
