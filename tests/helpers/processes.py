"""What tests of several processes on the CPU need."""

from __future__ import annotations

import socket

import numpy as np
import torch
from torch import nn


class LossOf(nn.Module):
    """The forward that a wrapper for distributed training calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: torch.Tensor, samples: list) -> dict[str, torch.Tensor]:
        return self.model(pictures, samples, mode='loss')


def gradients(model: nn.Module) -> dict[str, np.ndarray]:
    """Those that are there, by the names of their parameters."""
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
