"""What tests of several processes on the CPU need."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn


def server() -> multiprocessing.context.BaseContext:
    """Starts processes by forking one that has imported mmdet already.

    A fresh Python would import it for most of the time of a test. The server itself does nothing
    else: what a test changes in its own process is not in the processes that are forked.
    """
    multiprocessing.set_forkserver_preload(
        ['torch.distributed', 'mmdet.apis', 'mmdet_dab.parts', 'tests.helpers.commands', 'tests.helpers.training']
    )
    return multiprocessing.get_context('forkserver')


def run_in_two_processes(function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(rank, port, *arguments)`` in processes 0 and 1."""
    server()
    meeting = store()
    torch.multiprocessing.start_processes(
        _process, (function, meeting.port, arguments), nprocs=2, start_method='forkserver'
    )


def store() -> torch.distributed.TCPStore:
    """Where processes meet, for as long as it is held: at a port that was free.

    The process of the test keeps it, as torchrun's agent does: nobody can take the port before it is
    used, and none of those who meet can leave with it before the others are done.
    """
    return torch.distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)


def environment(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells process 0 or 1; the store at ``port`` is kept by neither of them."""
    return dict(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE='True',
        TORCHELASTIC_RESTART_COUNT='0',
    )


def _process(rank: int, function: Callable[..., None], port: int, arguments: tuple[Any, ...]) -> None:
    os.environ |= environment(rank, port)
    torch.set_num_threads(1)
    function(rank, port, *arguments)


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
