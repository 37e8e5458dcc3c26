"""A training that does not learn is recognised in its first steps, and the log says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmdet_dab.errors import listed
from mmdet_dab.hooks import alarms
from mmdet_dab.hooks.alarms import Group, Window
from mmdet_dab.hooks.observation import HeadOutput, ground_truth_boxes, on_head_output, samples_of
from mmdet_dab.hooks.unwrapped import detector_of
from mmdet_dab.registry import HOOKS

#: Images whose annotations are counted, to compare with what the pipeline returns.
COUNTED = 100


@HOOKS.register_module(name=['TrainingWatchHook', 'TrainingWatch'])
class TrainingWatchHook(Hook):
    """Warns of a training that does not learn, once for each cause, and changes nothing.

    It recognises boxes far from every object, class scores that do not separate, gradients that
    clipping makes too small, learning rates of zero, objects that the pipeline loses and
    checkpoints that loaded nothing. Each warning has the likely cause, the key of the config to
    change, and the paragraph of docs/own_data.md. (A loss that is not finite stops the training:
    :class:`NotFiniteHook`.)

    It reads the head's output every ``interval`` steps. What does not apply to a detector, such as
    the boxes of one that is no DETR, is left out.

    Args:
        steps: judged together; first the first ones, then the following ones. 0 switches the hook
            off.
        interval: steps between two outputs of the head that are read.
    """

    priority = 'LOW'  # after the hooks that change what is loaded

    def __init__(self, steps: int = 500, interval: int = 20) -> None:
        if steps < 0 or interval < 1:
            raise ValueError(f'{type(self).__name__}: steps={steps} must be at least 0, interval={interval} at least 1')
        self.steps = steps
        self.interval = interval
        self._window = Window()
        self._in_window = 0
        self._first = True
        self._told: set[str] = set()
        self._sampling = False
        self._output: HeadOutput | None = None
        self._handles: list[RemovableHandle] = []
        self._groups: list[Group] = []
        self._loaded = False
        self._start: dict[str, float] = {}

    # --- Checkpoints

    def before_run(self, runner: Runner) -> None:
        """Note one number of every weight that ``init_cfg`` will replace."""
        self._start = {}
        for path, part in pretrained_parts(detector_of(runner)) if self.steps else ():
            self._start |= {f'{path}.{name}': fingerprint(weight) for name, weight in part.named_parameters()}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Count the weights that fit the model, before the Runner loads them."""
        if not self.steps:
            return
        self._loaded = True
        state = checkpoint.get('state_dict', checkpoint)
        own = dict(detector_of(runner).named_parameters())
        fitting = [weight for name, weight in own.items() if shape_of(state.get(name)) == weight.shape]
        self._tell(
            runner,
            'nothing-loaded',
            alarms.nothing_loaded(
                sum(weight.numel() for weight in fitting),
                sum(weight.numel() for weight in own.values()),
                f'the checkpoint {runner.cfg.get("load_from") or ""}'.rstrip(),
                f'It is of another model or layout (its names: {listed(list(state), 2)}; the model: '
                f'{listed(list(own), 2)}): convert it with tools/convert_weights.py, or correct load_from',
            ),
        )

    def _check_pretrained(self, runner: Runner) -> None:
        for path, part in () if self._loaded else pretrained_parts(detector_of(runner)):
            weights = {name: weight for name, weight in part.named_parameters() if f'{path}.{name}' in self._start}
            changed = [
                weight for name, weight in weights.items() if fingerprint(weight) != self._start[f'{path}.{name}']
            ]
            checkpoint = pretrained_of(part)['checkpoint']
            self._tell(
                runner,
                'nothing-loaded',
                alarms.nothing_loaded(
                    sum(weight.numel() for weight in changed),
                    sum(weight.numel() for weight in weights.values()),
                    f'the checkpoint {checkpoint} for {path}',
                    f'It is of another model, or its names have a prefix (model.{path}.init_cfg.prefix="{path}." for '
                    'those of a whole detector)',
                ),
            )

    # --- The steps

    def before_train(self, runner: Runner) -> None:
        """Observe the head, and note the groups of the optimizer."""
        if not self.steps:
            return
        self._check_pretrained(runner)
        model = detector_of(runner)
        self._handles = on_head_output(model, self._observe)
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if optimizer is None:
            return
        names = {id(weight): name for name, weight in model.named_parameters() if weight.requires_grad}
        self._groups = [group_of(group, names) for group in optimizer.param_groups]
        held = {id(weight) for group in optimizer.param_groups for weight in group['params']}
        left_out = [name for key, name in names.items() if key not in held]
        self._tell(runner, 'no-learning-rate', alarms.without_optimizer(left_out))

    def _observe(self, output: HeadOutput) -> None:
        if self._sampling:
            self._output = output

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Decide whether the output of this step is read."""
        self._sampling = bool(self.steps) and (self._in_window + 1) % self.interval == 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Record the step; judge when the window is full."""
        if not self.steps:
            return
        self._in_window += 1
        self._record_counts(runner, data_batch)
        if self._sampling and self._output is not None:
            self._record_output(self._output, data_batch)
        self._sampling, self._output = False, None
        if self._in_window == self.steps:
            self._judge(runner)
            self._window, self._in_window, self._first = Window(), 0, False

    def after_train(self, runner: Runner) -> None:
        """Judge a short training by the steps it had, and stop observing."""
        if self._first and self._in_window >= self.steps // 2 > 0:
            self._judge(runner)
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _record_counts(self, runner: Runner, data_batch: Any) -> None:
        """What is cheap, for every step."""
        window, wrapper = self._window, runner.optim_wrapper
        if self._first:
            for sample in samples_of(data_batch):
                count = len(sample.gt_instances) if 'gt_instances' in sample else 0
                window.images += 1
                window.objects += count
                window.empty += not count
        if getattr(wrapper, 'clip_grad_kwargs', None) and wrapper.grad_name == 'grad_norm':
            norm = wrapper.message_hub.log_scalars.get('train/grad_norm')
            if norm is not None:
                window.clipped.append(norm.current() / wrapper.clip_grad_kwargs['max_norm'])
        if self._in_window % self.interval == 0 and self._groups:
            rates = [group['lr'] for group in wrapper.optimizer.param_groups]
            window.rates = [max(pair) for pair in zip(rates, window.rates or rates, strict=True)]

    @torch.no_grad()
    def _record_output(self, output: HeadOutput, data_batch: Any) -> None:
        """How well boxes of the last layer fit, and how much its scores differ."""
        logits = output.logits[-1]  # (B, N, C)
        logits = logits if len(logits) > 1 else logits[0]
        self._window.spreads.append(float(logits.std(0, correction=0).mean()))
        boxes = bbox_cxcywh_to_xyxy(output.boxes[-1]).cpu()
        for sample, found in zip(samples_of(data_batch), boxes, strict=False):
            if 'gt_instances' in sample and len(sample.gt_instances):
                height, width = sample.img_shape[:2]
                ground_truth = ground_truth_boxes(sample).cpu() / torch.tensor([width, height, width, height])
                self._window.ious += bbox_overlaps(ground_truth, found).max(1).values.tolist()

    def _judge(self, runner: Runner) -> None:
        window, wrapper = self._window, runner.optim_wrapper
        self._tell(runner, 'flat-scores', alarms.flat_scores(window.spreads))
        if window.clipped:
            trained = [weight for weight in detector_of(runner).parameters() if weight.requires_grad]
            eps = min((group.eps for group in self._groups if group.eps is not None), default=None)
            self._tell(
                runner,
                'clipped-gradients',
                alarms.clipped_gradients(
                    window.clipped, wrapper.clip_grad_kwargs['max_norm'], sum(w.numel() for w in trained), eps
                ),
            )
        # A schedule may end at zero on purpose.
        if window.rates and (self._first or runner.iter < 0.9 * runner.max_iters):
            self._tell(runner, 'no-learning-rate', alarms.no_learning_rate(self._groups, window.rates))
        if self._first:
            self._tell(runner, 'no-match', alarms.no_match(window.ious))
            self._tell(runner, 'lost-objects', alarms.lost_objects(window, *annotated(runner)))

    def _tell(self, runner: Runner, name: str, text: str | None) -> None:
        if text is not None and name not in self._told:
            self._told.add(name)
            runner.logger.warning(f'ATTENTION: {text}. What to do: {alarms.HELP}#{name}')


def pretrained_of(part: nn.Module) -> Mapping[str, Any]:
    """The ``init_cfg`` of a part that names a checkpoint; empty where there is none."""
    configs = getattr(part, 'init_cfg', None) or ()
    for config in [configs] if isinstance(configs, Mapping) else configs:
        if config.get('type') == 'Pretrained':
            return config
    return {}


def pretrained_parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and parts of a model that start from checkpoints of their own."""
    return [(path, part) for path, part in model.named_modules() if path and pretrained_of(part)]


def fingerprint(weight: Tensor) -> float:
    """A number in which two weights hardly ever agree."""
    return float(weight.detach().double().sum())


def shape_of(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def group_of(group: Mapping[str, Any], names: Mapping[int, str]) -> Group:
    """A parameter group of torch with the names of its parameters."""
    trained = tuple(names[id(weight)] for weight in group['params'] if id(weight) in names)
    return Group(trained, group.get('initial_lr', group['lr']), group.get('eps') if 'betas' in group else None)


def annotated(runner: Runner) -> tuple[float, float]:
    """From the annotations of some images: objects per image, share of images without one; (0, 0)
    if unknown.
    """
    dataset: Any = getattr(runner.train_dataloader, 'dataset', None)
    if not hasattr(dataset, 'get_data_info') or not len(dataset):
        return 0.0, 0.0
    counts = []
    for index in range(0, len(dataset), max(1, len(dataset) // COUNTED)):
        instances = dataset.get_data_info(index).get('instances', [])
        counts.append(sum(not instance.get('ignore_flag', 0) for instance in instances))
    return sum(counts) / len(counts), counts.count(0) / len(counts)
