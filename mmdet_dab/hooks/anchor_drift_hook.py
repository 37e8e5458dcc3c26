"""How far the learned anchors have moved since a training run began, beside the losses in its log."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdet_dab.models.query_generator import learned_anchors
from mmdet_dab.registry import HOOKS

#: In the message hub, which checkpoints keep: the anchors before the first step.
START = 'anchors_at_start'


@HOOKS.register_module()
class AnchorDriftHook(Hook):
    """Logs ``anchor_drift_xy`` and ``anchor_drift_wh``: the mean distance of the anchors from where
    they began.

    The distance is that of the centres, and that of the sizes (w, h), in parts of the image. A run
    that resumes measures from the start of the run that it continues. Queries without learned
    anchors, such as those of DETR, have nothing to log.

    Args:
        interval: steps between two measurements.
    """

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise ValueError(f'{type(self).__name__}: interval={interval} must be at least 1')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Note the anchors, unless a checkpoint brought those of the first start."""
        anchors = anchors_of(runner)
        noted = runner.message_hub.runtime_info.get(START) if runner._resume else None
        if anchors is not None and (noted is None or noted.shape != anchors.shape):
            runner.message_hub.update_info(START, anchors)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Measure, and hand the distances to the log."""
        start = runner.message_hub.runtime_info.get(START)
        if start is None or not self.every_n_train_iters(runner, self.interval):
            return
        anchors = anchors_of(runner)
        if anchors is None or anchors.shape != start.shape:
            return
        moved = anchors - start
        for name, part in (('xy', moved[:, :2]), ('wh', moved[:, 2:])):
            if part.numel():
                runner.message_hub.update_scalar(f'train/anchor_drift_{name}', float(part.norm(dim=1).mean()))


def anchors_of(runner: Runner) -> Tensor | None:
    """(A, 4 or 2) in 0..1, on the CPU, or None where the detector has none."""
    anchors = learned_anchors(runner.model)
    return None if anchors is None else anchors.float().cpu().clone()
