"""A loss or gradient that is not finite stops the training before it reaches the weights."""

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
from mmdet_dab.hooks.observation import (
    HeadOutput,
    ground_truth_boxes,
    is_finite,
    name_of,
    on_head_output,
    samples_of,
)
from mmdet_dab.hooks.unwrapped import detector_of
from mmdet_dab.registry import HOOKS

#: The page that explains what to do.
HELP = 'docs/own_data.md#not-finite'


class NotFiniteError(TrainingError):
    """The training cannot go on; the message says where it failed, why, and how to go on."""


class Cause(NamedTuple):
    """What one process found.

    Attributes:
        text: what is not finite, the likely cause and the fix.
        weights_failed: the weights give no finite loss; the data are not the cause.
    """

    text: str
    weights_failed: bool


@HOOKS.register_module()
class NotFiniteHook(Hook):
    """Stops a training whose loss or gradient is not finite, before the optimizer updates the
    weights.

    Every step has three checks: logits, boxes and ground truth before they are matched; losses
    before the backward pass; gradients before the optimizer uses them (by then those of all
    processes are equal). What one process finds stops all of them. With a loss scaler (``--amp``)
    infinite gradients are normal, and the scaler handles them.

    Replaces mmdet's ``CheckInvalidLossHook``, which checks every 50th loss, after the weights are
    lost.

    Args:
        stop: end the training; False warns once and goes on.

    Raises:
        NotFiniteError: from the training step, on all processes with the same message.
    """

    priority = 'VERY_HIGH'

    def __init__(self, stop: bool = True) -> None:
        self.stop = stop
        self._handles: list[RemovableHandle] = []
        self._update: list[DetDataSample] = []
        self._images: Tensor | None = None
        self._samples: Sequence = ()
        self._training = False
        self._told = False
        self._began = 0.0

    def before_train(self, runner: Runner) -> None:
        """Observe everything that a step computes."""
        self._began = time.time()
        model = detector_of(runner)

        def observe_batch(part: nn.Module, arguments: tuple, keywords: dict) -> None:
            given = dict(zip(('inputs', 'data_samples'), arguments, strict=False)) | keywords
            self._images = given.get('inputs') if isinstance(given.get('inputs'), Tensor) else None
            self._samples = given.get('data_samples') or ()

        def observe_losses(part: nn.Module, arguments: tuple, losses: Any) -> None:
            if self._training and isinstance(losses, Mapping):
                self._check_losses(runner, losses)

        def observe_output(output: HeadOutput) -> None:
            if self._training:
                self._check_output(runner, output)

        self._handles = [
            model.register_forward_pre_hook(observe_batch, with_kwargs=True),
            *on_head_output(model, observe_output),
            model.register_forward_hook(observe_losses),
        ]
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if isinstance(optimizer, torch.optim.Optimizer):
            self._handles.append(optimizer.register_step_pre_hook(lambda *_: self._check_gradients(runner)))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note the images of the batch; of all batches of one update, where gradients are
        accumulated.
        """
        self._training = True
        self._update += samples_of(data_batch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Forget the batch."""
        self._training = False
        self._images, self._samples = None, ()
        should_update = getattr(runner.optim_wrapper, 'should_update', None)
        if should_update is None or should_update():
            self._update = []

    def after_train(self, runner: Runner) -> None:
        """Stop observing."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _check_output(self, runner: Runner, output: HeadOutput) -> None:
        """Check logits, boxes and ground truth, which cannot be matched if they are not finite."""
        ground_truth = [ground_truth_boxes(sample) for sample in self._samples if 'gt_instances' in sample]
        checked = torch.cat([part.flatten() for part in (*output, *ground_truth)])
        if on_any_process(~torch.isfinite(checked).all()):
            self._report(runner, None if is_finite(checked) else self._cause_in_output(runner, output, ground_truth))

    def _check_losses(self, runner: Runner, losses: Mapping[str, Any]) -> None:
        """Check all terms in one step."""
        terms = [(name, term.detach()) for name, term in flat_terms(losses) if 'loss' in name]
        values = torch.stack([term.sum() if term.dim() else term for _, term in terms]) if terms else torch.zeros(1)
        if on_any_process(~torch.isfinite(values).all()):
            broken = [name for name, term in terms if not is_finite(term)]
            what = f'{described(broken)} {"is" if len(broken) == 1 else "are"} not finite'
            self._report(runner, self._cause(runner, what) if broken else None)

    def _check_gradients(self, runner: Runner) -> None:
        """Check gradients, which are the same on all processes: no need to ask the others."""
        wrapper = runner.optim_wrapper
        scaler = getattr(wrapper, 'loss_scaler', None)
        if (scaler is not None and scaler.is_enabled()) or gradients_finite(wrapper):
            return
        weights = detector_of(runner).named_parameters()
        broken = [name for name, weight in weights if weight.grad is not None and not is_finite(weight.grad)]
        what = f'the gradient of {listed(broken, 4)} is not finite though all losses are'
        # These weights gave finite losses, so that training can go on from them.
        self._report(runner, self._cause(runner, what)._replace(weights_failed=False))

    def _cause_in_output(self, runner: Runner, output: HeadOutput, ground_truth: Sequence[Tensor]) -> Cause:
        """Which layer and images, and why."""
        names = [name_of(sample) for sample in self._samples]
        wrong = [name for name, boxes in zip(names, ground_truth, strict=False) if not is_finite(boxes)]
        if wrong:
            text = f'ground-truth boxes of {listed(wrong)} are not finite: fix them in the annotation file'
            return Cause(text, weights_failed=False)
        broken = torch.stack([~torch.isfinite(part).flatten(2).all(-1) for part in output]).any(0)  # (L, B)
        layer = int(broken.any(1).nonzero()[0])
        images = [name for name, is_broken in zip(names, broken[layer].tolist(), strict=False) if is_broken]
        terms = [name for name, part in zip(HeadOutput._fields, output, strict=True) if not is_finite(part[layer])]
        where = 'all images of the batch' if len(images) == len(names) else listed(images)
        return self._cause(runner, f'{" and ".join(terms)} of decoder layer {layer} are not finite in {where}')

    def _cause(self, runner: Runner, what: str) -> Cause:
        """What is wrong, the cause as far as it shows, and the fix."""
        names = [name_of(sample) for sample in self._samples]
        if self._images is not None and not is_finite(self._images):
            images = [name for name, image in zip(names, self._images, strict=False) if not is_finite(image)]
            fix = 'fix or remove the file, or the transform or data_preprocessor (a std of 0?) that does this'
            return Cause(f'{what}; pixels of {listed(images)} are not finite: {fix}', weights_failed=False)
        # Not buffers: this very batch may have changed the statistics of batch norm.
        broken = [name for name, weight in detector_of(runner).named_parameters() if not is_finite(weight)]
        smaller = smaller_steps(runner)
        if broken:
            cause = f'weights are not finite either ({listed(broken, 4)}), from the checkpoint or too large a step'
        else:
            cause = 'the training has diverged'
        return Cause(f'{what}; {cause}: {smaller}', weights_failed=True)

    def _report(self, runner: Runner, cause: Cause | None) -> None:
        """Stop all processes with one message. All of them call this at the same point."""
        if self._told:
            return
        self._told = True
        found = all_gather_object((cause, [name_of(sample) for sample in self._update]))
        causes = '; '.join(
            (f'process {rank}: ' if len(found) > 1 else '') + f'{one.text} (images of the batch: {listed(names, 32)})'
            for rank, (one, names) in enumerate(found)
            if one is not None
        )
        if not self.stop:
            runner.logger.warning(f'ATTENTION: iteration {runner.iter + 1}: {causes}. What to do: {HELP}')
            return
        weights_failed = any(one is not None and one.weights_failed for one, _ in found)
        # Only the first process writes and reads checkpoints.
        back = all_gather_object(way_back(runner, self._began, weights_failed) if runner.rank == 0 else '')[0]
        message = f'training stopped at iteration {runner.iter + 1}: {causes}. {back} What to do: {HELP}'
        runner.logger.error(message)
        raise NotFiniteError(message)


def on_any_process(here: Tensor) -> bool:
    """Whether the flag, (), is set on one of the processes: exchanges one number, waits for the
    device once.
    """
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
    """``d0.loss_bbox`` in words; ``loss_bbox`` belongs to the last layer."""
    words = []
    for name in names:
        prefix, _, term = name.rpartition('.')
        layer = prefix.removeprefix('d')
        words.append(f'{term} of decoder layer {layer} ({name})' if layer.isdigit() else name)
    return listed(words)


def gradients_finite(wrapper: Any) -> bool:
    """Check the norm that clipping has computed already, or else all gradients."""
    if wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
        return abs(wrapper.message_hub.get_scalar('train/grad_norm').current()) < float('inf')
    gradients = [p.grad for group in wrapper.optimizer.param_groups for p in group['params'] if p.grad is not None]
    return not gradients or is_finite(torch.stack([gradient.sum() for gradient in gradients]))


def smaller_steps(runner: Runner) -> str:
    """How to take smaller steps, with the keys of the config."""
    rates = [group['lr'] for group in getattr(runner.optim_wrapper, 'param_groups', [])]
    lower = f'lower optim_wrapper.optimizer.lr (the rate of this step: {max(rates, default=0):.3g})'
    if getattr(runner.optim_wrapper, 'clip_grad_kwargs', None):
        return f'{lower}, or warm up longer (param_scheduler)'
    return f'{lower}, or clip gradients (optim_wrapper.clip_grad=dict(max_norm=0.1))'


def way_back(runner: Runner, began: float, weights_failed: bool) -> str:
    """How to go on: from the newest finite checkpoint of this run, or from the one that it resumed.

    Args:
        runner: whose training stops.
        began: when it began (seconds since the epoch, as for files).
        weights_failed: the weights of this step give no finite loss; a checkpoint of them does not
            count.
    """
    for path in checkpoints_of(runner, began):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError:
            continue
        # The best checkpoint is saved without its optimizer and cannot be resumed.
        if 'optimizer' not in checkpoint or (weights_failed and checkpoint['meta'].get('iter') == runner.iter):
            continue
        if all(is_finite(tensor) for tensor in checkpoint['state_dict'].values()):
            return f'The last good checkpoint is {path}: go on from it with --resume {path}.'
    return 'There is no good checkpoint to go on from yet (default_hooks.checkpoint.interval: when one is written).'


def checkpoints_of(runner: Runner, began: float) -> list[str]:
    """Newest first: those that this run wrote, then the one that it resumed."""
    written = [(path.stat().st_mtime, str(path)) for path in Path(runner.work_dir).glob('*.pth')]
    resumed = runner.cfg.get('load_from') if runner.cfg.get('resume') else None
    return [path for age, path in sorted(written, reverse=True) if age >= began] + ([resumed] if resumed else [])
