"""A training step waits for a GPU once between forward and backward: for the matching costs.

Counted without a GPU: a dispatch mode sees the operations that make the CPU wait, and what reads
tensors past the dispatcher is replaced by functions that count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_dab.models import layers, matcher
from mmdet_dab.registry import MODELS
from tests.helpers import tiny

#: Their results have a size, or are a number, that only the GPU knows.
WAITING = {'_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'equal', '_unique2', 'unique_dim'}
READING = ('cpu', 'numpy', 'tolist')
INDEXING = ('index', 'index_put', 'index_put_', '_index_put_impl_')
#: Make tensors of numbers in Python: transfers that nobody waits for.
MADE_OF_NUMBERS = {'lift_fresh'}


class Waiting(TorchDispatchMode):
    """Counts what makes the CPU wait, and the transfers to the GPU, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.uploads = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in WAITING or (name in INDEXING and any(is_mask(index) for index in args[1])):
            self.waits[name] += 1
        if name == 'repeat_interleave' and isinstance(args[-1], torch.Tensor) and 'output_size' not in (kwargs or {}):
            self.waits[name] += 1
        # A single number is handed to the kernel that uses it.
        self.uploads += name in MADE_OF_NUMBERS and args[0].dim() > 0
        return function(*args, **(kwargs or {}))


def is_mask(index: torch.Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    """All tensors as if they were on a GPU."""
    counter = Waiting()

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def read(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if not getattr(tensor, 'is_read', False):
                counter.waits[name] += 1
            result = original(tensor, *args, **kwargs)
            if name == 'cpu':  # what was transferred once is read without waiting
                result.is_read = True
            return result

        return read

    with monkeypatch.context() as patch:
        patch.setattr(matcher, 'on_cpu', lambda tensor: False)
        patch.setattr(layers, 'fuses', lambda *parts: False)  # on a CPU only
        for name in READING:
            patch.setattr(torch.Tensor, name, counted(name))
        with counter:
            yield counter


def denoising(**overrides: Any) -> nn.Module:
    generator = dict(type='AnchorQueryGenerator', initial_anchors=dict(type='NormalAnchors'), num_queries=7)
    return tiny.build(
        query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator=generator), **overrides
    )


DETECTORS = {
    'DAB-DETR': tiny.build,
    'denoising': denoising,
    'groups': lambda **overrides: tiny.build(
        query_generator=dict(
            _delete_=True,
            type='GroupQueryGenerator',
            generator=dict(type='AnchorQueryGenerator', initial_anchors=dict(type='NormalAnchors'), num_queries=7),
            num_groups=3,
        ),
        **overrides,
    ),
    'matchability': lambda **overrides: tiny.build(bbox_head=dict(loss_cls=dict(type='MatchabilityLoss')), **overrides),
    'DETR': lambda **overrides: MODELS.build(tiny.shrunk_config('detr_r50', **overrides)),
}


def step(monkeypatch: pytest.MonkeyPatch, kind: str, images: int, layers: int) -> Waiting:
    """Forward pass and losses of a batch with padding."""
    model = DETECTORS[kind](decoder=dict(num_layers=layers)).train()
    sizes = [(64, 96), (48, 64), (40, 50), (64, 64)][:images]
    inputs, samples = tiny.batch(sizes, [3, 1, 0, 2][:images])
    with watching(monkeypatch) as counter:
        sum(model.loss(inputs, samples).values())
    return counter


@pytest.mark.parametrize('kind', DETECTORS)
def test_one_wait_whatever_the_layers_and_images(kind: str, monkeypatch: pytest.MonkeyPatch):
    few, many = step(monkeypatch, kind, 2, 2), step(monkeypatch, kind, 4, 4)
    assert few.waits == many.waits == Counter(cpu=1)
    assert few.uploads == many.uploads


def test_waits_are_seen(monkeypatch: pytest.MonkeyPatch):
    """What the code above must not do is counted when it is done."""
    x = torch.arange(3.0)
    with watching(monkeypatch) as counter:
        float(x[0])
        x[x > 1]
        (x > 1).nonzero()
        x.tolist()
        x.new_tensor([1.0])
    assert counter.waits == Counter(_local_scalar_dense=1, index=1, nonzero=1, tolist=1)
    assert counter.uploads == 1
