"""Mixed precision on a CPU: bfloat16, which needs no scaling of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Computes the forward pass under CPU autocast; mmengine's ``AmpOptimWrapper`` wants a GPU.

    Convolutions and matrix products are bfloat16. Weights, sine codes, anchors, matching and losses
    stay float32. It pays on CPUs with bfloat16 arithmetic (AVX-512 BF16, AMX).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As of the base, under autocast."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
