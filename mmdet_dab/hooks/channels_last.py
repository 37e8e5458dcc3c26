"""Pictures with their channels side by side in memory."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the weights of convolutions out channels-last, as PyTorch's CPU and tensor-core kernels want them.

    Feature maps follow the weights. Shapes, results and checkpoints stay as they are.
    """

    def before_run(self, runner: Runner) -> None:
        """In place: the optimizer keeps its parameters."""
        runner.model.to(memory_format=torch.channels_last)
