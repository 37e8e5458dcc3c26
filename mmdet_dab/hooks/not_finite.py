"""A loss or gradient that is not a number stops the training before it reaches the weights."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.errors import CheckpointError, TrainingError, listed
from mmdet_dab.hooks.observing import (
    Answers,
    is_finite,
    name_of,
    on_answers,
    samples_of,
    true_boxes,
    watched_model,
)
from mmdet_dab.registry import HOOKS

#: The page that says more.
HELP = 'docs/own_data.md#not-finite'


class NotFiniteError(TrainingError):
    """The training cannot go on; the message says where it broke, why, and how to go on."""


class Fault(NamedTuple):
    """What one process saw.

    Attributes:
        what: in words, with cause and mend.
        by_weights: the weights are at fault, not the data: they give no finite loss.
    """

    what: str
    by_weights: bool


@HOOKS.register_module()
class NotFiniteHook(Hook):
    """Stops a training whose loss or gradient is not finite, before the optimizer spoils the weights with it.

    It looks three times a step: at logits, boxes and truth before they are matched, at the losses before the
    backward pass, and at the gradients before the optimizer takes them (those of all processes are the same
    by then). What one process sees stops all of them. With a loss scaler (``--amp``) infinite gradients are
    normal, and are left to it.

    Serves in place of mmdet's ``CheckInvalidLossHook``, which looks at every 50th loss, when the weights are
    spoilt already.

    Args:
        stop: end the training; False says it once, as a warning, and goes on.

    Raises:
        NotFiniteError: from the training step, on all processes with the same message.
    """

    priority = 'VERY_HIGH'

    def __init__(self, stop: bool = True) -> None:
        self.stop = stop
        self._handles: list[RemovableHandle] = []
        self._update: list[DetDataSample] = []
        self._pictures: Tensor | None = None
        self._samples: Sequence = ()
        self._training = False
        self._told = False
        self._began = 0.0

    def before_train(self, runner: Runner) -> None:
        """Put the eyes where they see everything that the step computes."""
        self._began = time.time()
        model = watched_model(runner)

        def see_batch(part: nn.Module, arguments: tuple, keywords: dict) -> None:
            given = dict(zip(('inputs', 'data_samples'), arguments, strict=False)) | keywords
            self._pictures = given.get('inputs') if isinstance(given.get('inputs'), Tensor) else None
            self._samples = given.get('data_samples') or ()

        def see_losses(part: nn.Module, arguments: tuple, losses: Any) -> None:
            if self._training and isinstance(losses, Mapping):
                self._check_losses(runner, losses)

        def see_answers(answers: Answers) -> None:
            if self._training:
                self._check_answers(runner, answers)

        self._handles = [
            model.register_forward_pre_hook(see_batch, with_kwargs=True),
            *on_answers(model, see_answers),
            model.register_forward_hook(see_losses),
        ]
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if isinstance(optimizer, torch.optim.Optimizer):
            self._handles.append(optimizer.register_step_pre_hook(lambda *_: self._check_gradients(runner)))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note whose pictures come; those of one update, where gradients are accumulated."""
        self._training = True
        self._update += samples_of(data_batch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Forget the batch."""
        self._training = False
        self._pictures, self._samples = None, ()
        should_update = getattr(runner.optim_wrapper, 'should_update', None)
        if should_update is None or should_update():
            self._update = []

    def after_train(self, runner: Runner) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _check_answers(self, runner: Runner, answers: Answers) -> None:
        """Logits, boxes and truth: what is not finite cannot be matched."""
        truth = [true_boxes(sample) for sample in self._samples if 'gt_instances' in sample]
        looked_at = torch.cat([part.flatten() for part in (*answers, *truth)])
        if on_any_process(~torch.isfinite(looked_at).all()):
            self._report(runner, None if is_finite(looked_at) else self._blame_answers(runner, answers, truth))

    def _check_losses(self, runner: Runner, losses: Mapping[str, Any]) -> None:
        """All terms by one look."""
        terms = [(name, term.detach()) for name, term in flat_terms(losses) if 'loss' in name]
        values = torch.stack([term.sum() if term.dim() else term for _, term in terms]) if terms else torch.zeros(1)
        if on_any_process(~torch.isfinite(values).all()):
            broken = [name for name, term in terms if not is_finite(term)]
            what = f'{described(broken)} {"is" if len(broken) == 1 else "are"} not finite'
            self._report(runner, self._fault(runner, what) if broken else None)

    def _check_gradients(self, runner: Runner) -> None:
        """The same on all processes, which have averaged them: no need to ask the others."""
        wrapper = runner.optim_wrapper
        scaler = getattr(wrapper, 'loss_scaler', None)
        if (scaler is not None and scaler.is_enabled()) or gradients_finite(wrapper):
            return
        weights = watched_model(runner).named_parameters()
        broken = [name for name, weight in weights if weight.grad is not None and not is_finite(weight.grad)]
        what = f'the gradient of {listed(broken, 4)} is not finite though all losses are'
        # The weights themselves gave finite losses, and are fit to go on from.
        self._report(runner, self._fault(runner, what)._replace(by_weights=False))

    def _blame_answers(self, runner: Runner, answers: Answers, truth: Sequence[Tensor]) -> Fault:
        """Which layer and pictures, and why."""
        names = [name_of(sample) for sample in self._samples]
        untrue = [name for name, boxes in zip(names, truth, strict=False) if not is_finite(boxes)]
        if untrue:
            what = f'boxes of the truth of {listed(untrue)} are not finite: mend them in the annotation file'
            return Fault(what, by_weights=False)
        broken = torch.stack([~torch.isfinite(part).flatten(2).all(-1) for part in answers]).any(0)  # (L, B)
        layer = int(broken.any(1).nonzero()[0])
        pictures = [name for name, is_broken in zip(names, broken[layer].tolist(), strict=False) if is_broken]
        terms = [name for name, part in zip(Answers._fields, answers, strict=True) if not is_finite(part[layer])]
        where = 'all pictures of the batch' if len(pictures) == len(names) else listed(pictures)
        return self._fault(runner, f'{" and ".join(terms)} of decoder layer {layer} are not finite in {where}')

    def _fault(self, runner: Runner, what: str) -> Fault:
        """What is wrong, what stands behind it as far as can be seen, and the mend."""
        names = [name_of(sample) for sample in self._samples]
        if self._pictures is not None and not is_finite(self._pictures):
            pictures = [name for name, picture in zip(names, self._pictures, strict=False) if not is_finite(picture)]
            mend = 'mend or remove it, or the transform or data_preprocessor (a std of 0?) that spoils it'
            return Fault(f'{what}; pixels of {listed(pictures)} are not finite: {mend}', by_weights=False)
        # Buffers not: this very batch may have spoilt the statistics of batch norm.
        spoilt = [name for name, weight in watched_model(runner).named_parameters() if not is_finite(weight)]
        steps = mend_of_steps(runner)
        if spoilt:
            cause = f'nor are weights ({listed(spoilt, 4)}), by the checkpoint loaded or by too large a step: {steps}'
        else:
            cause = f'the training has diverged: {steps}'
        return Fault(f'{what}; {cause}', by_weights=True)

    def _report(self, runner: Runner, fault: Fault | None) -> None:
        """Stop all processes with one message, of those that saw a fault. Called by all of them at the same point."""
        if self._told:
            return
        self._told = True
        seen = all_gather_object((fault, [name_of(sample) for sample in self._update]))
        faults = '; '.join(
            (f'process {rank}: ' if len(seen) > 1 else '') + f'{one.what} (pictures of the batch: {listed(names, 32)})'
            for rank, (one, names) in enumerate(seen)
            if one is not None
        )
        if not self.stop:
            runner.logger.warning(f'ATTENTION: iteration {runner.iter + 1}: {faults}. What to do: {HELP}')
            return
        weights_failed = any(one is not None and one.by_weights for one, _ in seen)
        # The first process alone writes checkpoints, and reads them.
        back = all_gather_object(way_back(runner, self._began, weights_failed) if runner.rank == 0 else '')[0]
        message = f'training stopped at iteration {runner.iter + 1}: {faults}. {back} What to do: {HELP}'
        runner.logger.error(message)
        raise NotFiniteError(message)


def on_any_process(here: Tensor) -> bool:
    """Whether the flag, (), is set on one of the processes: one number exchanged, one look at the device."""
    if get_world_size() == 1:
        return bool(here)
    flag = here.float()
    all_reduce(flag, op='max')
    return bool(flag)


def flat_terms(losses: Mapping[str, Any]) -> Iterable[tuple[str, Tensor]]:
    """The terms of a loss by name; mmdet's may be lists."""
    for name, value in losses.items():
        for term in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(term, Tensor):
                yield name, term


def described(names: Sequence[str]) -> str:
    """``d0.loss_bbox`` in words; ``loss_bbox`` is of the last layer."""
    words = []
    for name in names:
        prefix, _, term = name.rpartition('.')
        layer = prefix.removeprefix('d')
        words.append(f'{term} of decoder layer {layer} ({name})' if layer.isdigit() else name)
    return listed(words)


def gradients_finite(wrapper: Any) -> bool:
    """By the norm that clipping has computed already, else by a look at all gradients."""
    if wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
        return abs(wrapper.message_hub.get_scalar('train/grad_norm').current()) < float('inf')
    gradients = [p.grad for group in wrapper.optimizer.param_groups for p in group['params'] if p.grad is not None]
    return not gradients or is_finite(torch.stack([gradient.sum() for gradient in gradients]))


def mend_of_steps(runner: Runner) -> str:
    """How to make smaller steps, with the keys of the config."""
    rates = [group['lr'] for group in getattr(runner.optim_wrapper, 'param_groups', [])]
    lower = f'lower optim_wrapper.optimizer.lr (the rate of this step: {max(rates, default=0):.3g})'
    if getattr(runner.optim_wrapper, 'clip_grad_kwargs', None):
        return f'{lower}, or warm up longer (param_scheduler)'
    return f'{lower}, or clip gradients (optim_wrapper.clip_grad=dict(max_norm=0.1))'


def way_back(runner: Runner, began: float, weights_failed: bool) -> str:
    """How to go on: from the newest checkpoint of this run, or the one that it resumed, that is good.

    Args:
        runner: whose training stops.
        began: when it began (seconds, as files have it).
        weights_failed: those of this step are at fault, and no good if a checkpoint holds them.
    """
    for path in checkpoints_of(runner, began):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError:
            continue
        # The best one is saved without its optimizer, and cannot be resumed.
        if 'optimizer' not in checkpoint or (weights_failed and checkpoint['meta'].get('iter') == runner.iter):
            continue
        if all(is_finite(tensor) for tensor in checkpoint['state_dict'].values()):
            return f'The last good checkpoint is {path}: go on from it with --resume {path}.'
    return 'There is no good checkpoint to go on from yet (default_hooks.checkpoint.interval: when one is written).'


def checkpoints_of(runner: Runner, began: float) -> list[str]:
    """Newest first: those that this run wrote, and the one that it resumed."""
    written = [(path.stat().st_mtime, str(path)) for path in Path(runner.work_dir).glob('*.pth')]
    resumed = runner.cfg.get('load_from') if runner.cfg.get('resume') else None
    return [path for age, path in sorted(written, reverse=True) if age >= began] + ([resumed] if resumed else [])
