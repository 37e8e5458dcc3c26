"""Images with their channels side by side in memory."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_dab.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays out the weights of convolutions channels-last, which PyTorch's CPU and tensor-core
    kernels prefer.

    Feature maps follow the weights. Shapes, results and checkpoints stay as they are.
    """

    def before_run(self, runner: Runner) -> None:
        """Change the model in place, so that the optimizer keeps its parameters."""
        runner.model.to(memory_format=torch.channels_last)
