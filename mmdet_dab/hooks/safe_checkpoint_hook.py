"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.engine.files import PART, STOPPED, note_last, save_whole, write_whole
from mmdet_dab.errors import ConfigError, listed
from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with its arguments, for machines that may stop at any moment.

    A file appears under its name when it is on the disk; only then ``last_checkpoint`` names it,
    and only then older ones go. After a validation the checkpoint of the same step is written once
    more, with the best score in it, so that a training run which goes on from it does not validate
    again.

    Raises:
        CheckpointError: a checkpoint could not be written (disk full); earlier ones are untouched.
    """

    best_ckpt_path: str | None
    _training = False
    _saved_at: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Find folder and best score, and clear away what a kill left half done."""
        super().before_train(runner)
        self._training = True
        # A training run that was killed behind its last checkpoint, before it was validated or
        # published.
        last = self._path(runner.epoch if self.by_epoch else runner.iter)
        if runner.iter > 0 and self.file_backend.isfile(last):
            self.last_ckpt, self._saved_at = last, runner.iter
        if is_main_process() and self._is_local:
            for part in Path(self.out_dir).glob(f'*{PART}'):
                part.unlink()
            self._remove(runner.message_hub.get_info('outdated_ckpt_ids', []))

    def after_train(self, runner: Runner) -> None:
        """Publish, as MMEngine does."""
        self._training = False
        super().after_train(runner)

    def after_val(self, runner: Runner) -> None:
        """Write the checkpoint of this step again, now that it is validated."""
        if self._training and self._saved_at == runner.iter:
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter))

    @property
    def _is_local(self) -> bool:
        return isinstance(self.file_backend, LocalBackend)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Write the checkpoint, then its name, and then remove those that are too many."""
        outdated: list[int] = []
        if self.max_keep_ckpts > 0:
            kept = [number for number in self.keep_ckpt_ids if number != step] + [step]
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept[-self.max_keep_ckpts :])
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            # A kill before they are removed leaves that to the training run that goes on.
            runner.message_hub.update_info('outdated_ckpt_ids', outdated)
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._save(
            runner,
            self.filename_tmpl.format(step),
            meta,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            by_epoch=self.by_epoch,
            **self.args,
        )
        self._saved_at = meta['iter']
        if is_main_process():
            note_last(runner.work_dir, self.last_ckpt)
            self._remove(outdated)
            for stopped in Path(runner.work_dir).glob(STOPPED.format('*')):
                stopped.unlink()

    def _save(self, runner: Runner, name: str, meta: dict[str, Any], **options: Any) -> None:
        if self.file_client_args is not None:
            runner.save_checkpoint(self.out_dir, name, self.file_client_args, meta=dict(meta), **options)
        else:
            save_whole(runner, self.out_dir, name, self.backend_args, meta=dict(meta), **options)

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, steps: list[int]) -> None:
        for step in steps:
            path = self._path(step)
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Write the checkpoint with the best score, and then remove the best one before it."""
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            if key not in metrics:
                raise ConfigError(
                    f"default_hooks.checkpoint.save_best: the validation gives no '{key}', but {listed(metrics)}"
                )
            self._save_if_best(runner, key, rule, metrics[key])

    def _save_if_best(self, runner: Runner, key: str, rule: str, score: float | None) -> None:
        single = len(self.key_indicators) == 1
        suffix = '' if single else f'_{key}'
        hub = runner.message_hub
        best = hub.get_info(f'best_score{suffix}', self.init_value_map[rule])
        before = self.best_ckpt_path if single else self.best_ckpt_path_dict[key]
        if score is None or not self.is_better_than[key](score, best):
            return
        step, unit = (runner.epoch, 'epoch') if self.by_epoch else (runner.iter, 'iteration')
        name = f'best_{key}_{self.filename_tmpl.format(step)}'.replace('/', '_')
        path = self.file_backend.join_path(self.out_dir, name)
        hub.update_info(f'best_score{suffix}', score)
        hub.update_info(f'best_ckpt{suffix}', path)
        if single:
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[key] = path
        self._save(
            runner,
            name,
            dict(epoch=runner.epoch, iter=runner.iter),
            save_optimizer=False,
            save_param_scheduler=False,
            by_epoch=False,
        )
        if is_main_process() and before and before != path and self.file_backend.isfile(before):
            self.file_backend.remove(before)
        runner.logger.info(f'The best checkpoint, {key} {score:0.4f} after {unit} {step}, is saved to {name}')

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """Write a copy with nothing but ``published_keys``, named after its content."""
        checkpoint = read_checkpoint(ckpt_path)
        published = {key: value for key, value in checkpoint.items() if key in self.published_keys}
        digest = hashlib.sha256(pickle.dumps(published)).hexdigest()[:8]
        path = Path(ckpt_path).with_name(f'{Path(ckpt_path).stem}-{digest}.pth')
        write_whole(path, lambda part: torch.save(published, part))
        runner.logger.info(f'{ckpt_path} is published as {path}, with {listed(published)} of its keys')
