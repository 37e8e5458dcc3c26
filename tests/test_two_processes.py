"""Two processes on the CPU (gloo) compute the loss and the gradient of one process with the whole batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.helpers import tiny
from tests.helpers.processes import LossOf, gradients, run_in_two_processes

COUNTS = [3, 1, 0, 5]
SIZES = [(64, 96), (48, 64), (64, 64), (40, 96)]


def process(rank, port, results):
    """One of two: images 0 and 1, or 2 and 3, on the canvas of all four."""
    dist.init_process_group('gloo')
    images, samples = tiny.batch(SIZES, COUNTS)
    mine = slice(2 * rank, 2 * rank + 2)
    wrapped = DistributedDataParallel(LossOf(build()))
    losses = wrapped(images[mine], samples[mine])
    sum(losses.values()).backward()
    results[rank] = ({name: loss.item() for name, loss in losses.items()}, gradients(wrapped.module.model))
    dist.barrier()
    dist.destroy_process_group()


def build():
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    # Batch statistics would differ between the halves, as in any detector without synchronised norms.
    return tiny.build()


def test_loss_and_gradient_are_those_of_one_process():
    with mp.Manager() as manager:
        results = manager.dict()
        run_in_two_processes(process, results)
        (first, first_gradient), (second, _) = results[0], results[1]
    model = build()
    losses = model(*tiny.batch(SIZES, COUNTS), mode='loss')
    sum(losses.values()).backward()
    for name, loss in losses.items():
        mean = torch.tensor((first[name] + second[name]) / 2)
        torch.testing.assert_close(mean, loss.detach(), rtol=1e-5, atol=1e-6, msg=name)
    assert first['loss_bbox'] != second['loss_bbox']
    whole = gradients(model)
    assert set(whole) == set(first_gradient)
    for name, gradient in whole.items():
        scale = max(abs(gradient).max(), 1e-2)
        assert abs(first_gradient[name] - gradient).max() < 1e-4 * scale, name
