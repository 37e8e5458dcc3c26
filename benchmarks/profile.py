"""Where time goes, part by part, beside the least that it could take.

A part of ``python -m benchmarks.speed``.

The floor of a part is its multiply-adds (``mmdet_dab.analysis.complexity``) at the rate of this
machine's matrix product. Times are the least of all rounds, and the rate the best, so that what
else the machine does counts little.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import side_by_side
from benchmarks.peers import Scene, ours
from mmdet_dab.analysis.complexity import Counts, count
from mmdet_dab.optimize import optimize_for_inference

SIZE = (800, 1066)
#: Tells the time, in seconds.
Now = Callable[[], float]
#: Parts of the detector in the order in which images go through them.
PARTS = ('backbone', 'neck', 'tokenizer', 'encoder', 'query_generator', 'decoder', 'bbox_head')
STACKS = ('encoder', 'decoder')
MATCHING, REST = 'matching', 'losses, predictions'


def rows_of(model: nn.Module) -> dict[str, str]:
    """Module -> the row of the table that it is booked on; a stack of layers has a row for each of
    their parts.
    """
    rows = {name: name for name in PARTS}
    for stack in STACKS:
        for name, _ in getattr(model, stack).named_children():
            if name != 'layers':
                rows[f'{stack}.{name}'] = f'{stack}: {name}'
        for index, layer in enumerate(getattr(model, stack).layers):
            for name, _ in layer.named_children():
                rows[f'{stack}.layers.{index}.{name}'] = f'{stack}: {name}'
    # The decoder calls the box branches, too; they belong to the head.
    rows |= {f'bbox_head.{name}': 'bbox_head' for name, _ in model.bbox_head.named_modules() if name}
    norms = [name for name in rows if name.rpartition('.')[2].endswith(('norm', 'dropout'))]
    return rows | {name: f'{name.split(".")[0]}: norms' for name in norms}


class Clock:
    """The time that each row takes by itself: what it calls and has a row of its own counts there.

    Attributes:
        seconds: row -> time since the last :meth:`reset`.
    """

    def __init__(self, now: Now) -> None:
        self.seconds: Counter[str] = Counter()
        self._now = now
        self._running = [REST]
        self._since = 0.0

    def reset(self) -> None:
        self.seconds.clear()
        self._since = self._now()

    def _book(self) -> None:
        now = self._now()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def enter(self, row: str) -> None:
        self._book()
        self._running.append(row)

    def leave(self) -> None:
        self._book()
        self._running.pop()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Time the parts of a model, and its matcher."""
        modules, handles = dict(model.named_modules()), []
        for name, row in rows_of(model).items():
            module = modules[name]
            handles.append(module.register_forward_pre_hook(lambda *_, row=row: self.enter(row)))
            handles.append(module.register_forward_hook(lambda *_: self.leave()))
        matcher = model.bbox_head.matcher
        handles.append(matcher.register_forward_pre_hook(lambda *_: self.enter(MATCHING)))
        handles.append(matcher.register_forward_hook(lambda *_: self.leave()))
        yield
        for handle in handles:
            handle.remove()


class BackwardClock:
    """The time that the backward pass takes in each part: it goes through them one after the other.

    What a part hands on gets its gradient when all after it is done.

    Attributes:
        seconds: part -> time, after :meth:`backward`.
    """

    def __init__(self, now: Now) -> None:
        self.seconds: dict[str, float] = {}
        self._now = now
        self._arrived: list[tuple[str, float]] = []

    def _mark(self, part: str, tensor: Tensor) -> None:
        if tensor.requires_grad:
            tensor.register_hook(lambda _: self._arrived.append((part, self._now())))

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """See the outputs of the parts."""
        outputs: dict[str, Callable[[Any], Tensor]] = {
            'backbone': lambda maps: maps[-1],
            'neck': lambda maps: maps[-1],
            'encoder': lambda tokens: tokens.content,
            'decoder': lambda output: output.states,
        }
        handles = [
            getattr(model, part).register_forward_hook(lambda _, __, out, part=part, of=of: self._mark(part, of(out)))
            for part, of in outputs.items()
        ]
        yield
        for handle in handles:
            handle.remove()

    def backward(self, loss: Tensor) -> None:
        """Go back, and tell what took how long: between the gradient of a part's output and that of
        its input.
        """
        self._arrived = []
        start = self._now()
        loss.backward()
        arrivals = [('bbox_head', start), *self._arrived, ('', self._now())]
        self.seconds = {part: end - begin for (part, begin), (_, end) in pairwise(arrivals)}


def multiply_adds(model: nn.Module, counts: Counts) -> Counter[str]:
    """Row -> multiply-adds of a forward pass."""
    return _booked(rows_of(model), (counts.weights, counts.attention))


def backward_multiply_adds(model: nn.Module, counts: Counts) -> Counter[str]:
    """Part -> multiply-adds of a backward pass: one product for each factor that needs a gradient.

    Nothing goes back through what is frozen at the start of the backbone.
    """
    frozen = {
        name
        for name, module in model.named_modules()
        if name.startswith('backbone') and not any(p.requires_grad for p in module.parameters())
    }
    weights = Counter({name: 2 * value for name, value in counts.weights.items() if name not in frozen})
    attention = Counter({name: 2 * value for name, value in counts.attention.items()})
    return _booked({part: part for part in PARTS}, (weights, attention))


def _booked(rows: dict[str, str], counters: Iterable[Counter[str]]) -> Counter[str]:
    """Modules are booked on the row of the innermost module around them that has one."""
    total: Counter[str] = Counter()
    for counter in counters:
        for module, value in counter.items():
            names = [name for name in rows if f'{module}.'.startswith(f'{name}.')]
            total[rows[max(names, key=len)] if names else REST] += value
    return total


# --- Tables


def line(name: str, seconds: float, whole: float, products: int, rate: float) -> tuple[str, ...]:
    """A row: time, share of the whole, multiply-adds, floor, and how far above it."""
    floor = 2e-9 * products / rate  # the rate is in GFLOPS, 2 per multiply-add
    above = f'{seconds / floor:.1f} ×' if products > 1e-4 * rate * 1e9 * whole else '—'
    return (
        name,
        f'{1e3 * seconds:.1f}',
        f'{seconds / whole:.0%}',
        f'{products / 1e9:.2f}',
        f'{1e3 * floor:.1f}',
        above,
    )


HEADER = ('part', 'ms', 'share', 'G multiply-adds', 'floor, ms', 'above its floor')


def table(title: str, seconds: dict[str, float], products: Counter[str], rate: float) -> str:
    """All rows, and their sum."""
    whole = sum(seconds.values())
    rows = [line(name, each, whole, products[name], rate) for name, each in seconds.items() if each > 2e-4 * whole]
    rows.append(line('**all**', whole, whole, sum(products.values()), rate))
    return side_by_side.table((title, *HEADER[1:]), rows)


def least(
    rounds: int, step: Callable[[], dict[str, dict[str, float]]], rate: Callable[[], float]
) -> tuple[dict[str, dict[str, float]], float]:
    """The least time of each row of each table, over rounds, after one to warm up; and the best
    rate before a round.
    """
    best, fastest = step(), rate()
    for number in range(rounds):
        fastest = max(fastest, rate())
        for title, seconds in step().items():
            before = best[title] if number else seconds
            best[title] = {name: min(each, before.get(name, each)) for name, each in seconds.items()}
    return best, fastest


def predicting(model: nn.Module, scene: Scene, now: Now) -> dict[str, dict[str, float]]:
    """One prediction, timed."""
    clock, images, samples = Clock(now), scene.images(), scene.data_samples()
    with torch.inference_mode(), clock.watching(model):
        clock.reset()
        clock.enter(REST)
        model(images, samples, mode='predict')
        clock.leave()
    return {'prediction': dict(clock.seconds)}


def training(model: nn.Module, optimizer: torch.optim.Optimizer, scene: Scene, now: Now) -> dict[str, dict[str, float]]:
    """One step, timed: forward, backward, update."""
    clock, back, images, samples = Clock(now), BackwardClock(now), scene.images(), scene.data_samples()
    optimizer.zero_grad()
    with clock.watching(model), back.watching(model):
        clock.reset()
        clock.enter(REST)
        loss = sum(model(images, samples, mode='loss').values())
        clock.leave()
        back.backward(loss)
    forward: Counter[str] = Counter()
    for row, seconds in clock.seconds.items():
        forward[row.split(':')[0]] += seconds
    start = now()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 0.1)
    clipped = now()
    optimizer.step()
    update = {'clipping': clipped - start, 'AdamW': now() - clipped}
    return {'training, forward': dict(forward), 'training, backward': back.seconds, 'training, update': update}


def part(args: argparse.Namespace) -> side_by_side.Part:
    """Three tables of R50, the least of some rounds."""
    rounds, now, variant = args.rounds or 5, time.perf_counter, 'r50'
    torch.set_num_threads(args.threads)
    scene = Scene(1, SIZE)
    trained = ours(variant).train()
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-5, fused=True)
    counts = count(ours(variant).eval(), {SIZE: 1})
    forward, backward = multiply_adds(trained, counts), backward_multiply_adds(trained, counts)
    coarse: Counter[str] = Counter()
    for row, products in forward.items():
        coarse[row.split(':')[0]] += products
    measure_rate = partial(side_by_side.matmul_rate, args.threads, now)
    predicted = partial(predicting, optimize_for_inference(ours(variant)), scene, now)
    times, one = least(rounds, predicted, measure_rate)
    trainings, other = least(rounds, partial(training, trained, optimizer, scene, now), measure_rate)
    times |= trainings
    rate = max(one, other)
    products = {
        'prediction': forward,
        'training, forward': coarse,
        'training, backward': backward,
        'training, update': Counter(),
    }
    tables = [table(title, seconds, products[title], rate) for title, seconds in times.items()]
    how = f'The rate of the floor is {rate:.0f} GFLOPS; least time of {rounds} rounds.'
    data = {'rate_of_floor': rate, 'seconds': times, 'multiply_adds': {key: dict(products[key]) for key in times}}
    return side_by_side.Part('\n\n'.join((*tables, how)), data)
