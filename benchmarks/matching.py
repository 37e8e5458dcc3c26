"""Matching and losses alone, beside mmdet's: a part of ``python -m benchmarks.speed``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks import side_by_side
from benchmarks.peers import Scene, mmdets

LAYERS, BATCH, QUERIES, CLASSES, MOST = 6, 16, 300, 80, 60


def outputs(device: str, batch: int) -> tuple[Tensor, Tensor]:
    """Logits (L, B, N, C) and boxes (L, B, N, 4) cx cy w h in 0..1."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(LAYERS, batch, QUERIES, CLASSES, generator=generator) - 3
    boxes = torch.rand(LAYERS, batch, QUERIES, 4, generator=generator) * 0.5 + 0.25
    return logits.to(device).requires_grad_(), boxes.to(device).requires_grad_()


def some_counts() -> list[int]:
    """1 to 60 objects for every image of the batch."""
    return torch.randint(1, MOST + 1, (BATCH,), generator=torch.Generator().manual_seed(2)).tolist()


def truth(device: str, counts: Sequence[int]) -> list:
    """Data samples with so many objects."""
    samples = Scene(len(counts), objects=max(counts), device=device).data_samples()
    for sample, count in zip(samples, counts, strict=True):
        sample.gt_instances = sample.gt_instances[:count]
    return samples


def mmdets_losses(device: str, our_assigner: bool = False) -> Any:
    """mmdet: image by image, layer by layer; with its own assigner or with ours."""
    head = mmdets('r50').bbox_head.to(device)
    if our_assigner:
        from mmdet_dab.interop import MatcherAssigner

        head.assigner = MatcherAssigner(_our_head().matcher)
    logits, boxes = outputs(device, BATCH)
    samples = truth(device, some_counts())
    instances, metas = [sample.gt_instances for sample in samples], [sample.metainfo for sample in samples]
    return _step(lambda: head.loss_by_feat(logits, boxes, instances, metas), logits, boxes)


def our_losses(device: str, counts: Sequence[int] | None = None) -> Any:
    """Ours: all layers and images at once.

    Args:
        device: to compute on.
        counts: objects of every image; None: as in the comparison with mmdet.
    """
    counts = counts or some_counts()
    mmdets('r50')  # registers mmdet's scope
    from mmdet_dab.models import Queries, SetPredictionHead
    from mmdet_dab.registry import MODELS

    class GivenOutputs(SetPredictionHead):
        """The head without its branches: the decoder's output is logits and boxes."""

        def forward(self, output: Any, layers: slice = slice(None)) -> tuple[Tensor, Tensor]:
            return output.logits, output.boxes

    MODELS.register_module(module=GivenOutputs, force=True)
    config = _our_head()
    config.update(type='mmdet_dab.GivenOutputs', num_classes=CLASSES)
    head = MODELS.build(config).to(device)
    logits, boxes = outputs(device, len(counts))
    output = SimpleNamespace(logits=logits, boxes=boxes, queries=Queries(content=boxes))
    samples = truth(device, counts)
    return _step(lambda: head.loss(output, samples), logits, boxes)


def _our_head() -> Any:
    """The config of our head."""
    from mmdet_dab.config import load_config

    return load_config('configs/dab_detr_r50_50e.py', {}).model.bbox_head


def _step(losses: Any, logits: Tensor, boxes: Tensor) -> Any:
    """Losses and their gradients; the outcome is every loss by name."""
    found: dict[str, float] = {}

    def step() -> None:
        logits.grad = boxes.grad = None
        terms = losses()
        sum(terms.values()).backward()
        found.update({name: term.item() for name, term in terms.items()})

    return step, lambda: found


def part(args: argparse.Namespace) -> side_by_side.Part:
    """The table."""
    rounds = args.rounds or 41
    candidates = {
        'mmdet': partial(mmdets_losses, args.device),
        'mmdet, our assigner': partial(mmdets_losses, args.device, our_assigner=True),
        'ours': partial(our_losses, args.device),
    }
    results = side_by_side.measure(candidates, rounds, args.threads, args.device)
    base = results[0]
    rows = []
    for result in results:
        furthest = max(abs(result.outcome[name] - loss) / abs(loss) for name, loss in base.outcome.items())
        ratio = base.median / result.median
        rows.append((result.name, f'{1e3 * result.median:.0f} ms', result.spread, f'{ratio:.2f} ×', f'{furthest:.0e}'))
    title = f'{LAYERS} layers × {BATCH} images, {QUERIES} queries, 1 to {MOST} objects'
    header = (title, 'median', 'least – greatest, s', 'faster than mmdet', 'losses differ by')
    text = f'{side_by_side.table(header, rows)}\n\n{rounds} rounds.'
    return side_by_side.Part(text, {'results': [vars(result) for result in results]})
