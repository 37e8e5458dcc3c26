"""How cost grows with sizes and counts, beside the arithmetic that it needs: a part of
``python -m benchmarks.speed``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import nn

from benchmarks import side_by_side
from benchmarks.matching import CLASSES, LAYERS, QUERIES, our_losses
from benchmarks.peers import Scene
from mmdet_dab.analysis.complexity import ProductCounter, count
from mmdet_dab.config import load_config
from mmdet_dab.optimize import optimize_for_inference
from mmdet_dab.registry import MODELS

CONFIG = 'configs/dab_detr_r50_50e.py'
#: Tells the time, in seconds.
Now = Callable[[], float]
IMAGES = 4
#: The one sweep whose arithmetic is a bound for the worst case.
LOSSES = 'matching + losses, n objects'


@dataclass
class Point:
    """One setting of a sweep.

    Attributes:
        value: what is varied.
        seconds: the least of all rounds.
        arithmetic: what the setting needs, in the sweep's unit.
    """

    value: int
    seconds: float
    arithmetic: float


def least(step: Callable[[], Any], rounds: int, now: Now) -> float:
    """Seconds of the fastest round, after one to warm up."""
    step()
    seconds = []
    for _ in range(rounds):
        start = now()
        step()
        seconds.append(now() - start)
    return min(seconds)


def growth(points: Sequence[Point]) -> list[float]:
    """Time over arithmetic, of each point and in parts of the first: above 1 it grows faster than
    its arithmetic.
    """
    first = points[0]
    return [point.seconds / first.seconds / (point.arithmetic / first.arithmetic) for point in points]


def exponent(points: Sequence[Point]) -> float:
    """k in time ∝ arithmetic^k, from the first point to the last."""
    first, last = points[0], points[-1]
    return math.log(last.seconds / first.seconds) / math.log(last.arithmetic / first.arithmetic)


# --- Sweeps


def detector(num_queries: int = QUERIES) -> nn.Module:
    """R50 with random weights."""
    init_default_scope('mmdet')
    config = load_config(CONFIG, {}).model
    config.backbone.init_cfg = None
    config.query_generator.num_queries = num_queries
    return MODELS.build(config)


def prediction(num_queries: int, scene: Scene, rounds: int, now: Now) -> tuple[float, float]:
    """Seconds, and G multiply-adds."""
    model = detector(num_queries).eval()
    products = count(model, {scene.size: 1})
    total = (products.weights + products.attention).total() * scene.batch / 1e9
    model = optimize_for_inference(model)
    images, samples = scene.images(), scene.data_samples()
    with torch.inference_mode():
        return least(lambda: model(images, samples, mode='predict'), rounds, now), total


def decoding(num_queries: int, scene: Scene, rounds: int, now: Now) -> tuple[float, float]:
    """What queries add to a prediction: seconds of decoder and head from given cells, and G
    multiply-adds.
    """
    model = detector(num_queries).eval()
    products = count(model, {scene.size: 1})
    total = sum(
        number
        for part in (products.weights, products.attention)
        for name, number in part.items()
        if name.startswith(('query_generator', 'decoder', 'bbox_head'))
    )
    model = optimize_for_inference(model)
    samples = scene.data_samples()
    with torch.inference_mode():
        features = model.extract_feat(scene.images())
        tokens = model.encoder(model.tokenizer(features, None, model.positional_encoder))

        def step() -> None:
            queries = model.query_generator(tokens)
            output = model.decoder(queries, tokens, model.positional_encoder, model.bbox_head.box_offset)
            model.bbox_head.predict(output, samples)

        return least(step, 5 * rounds, now), total * scene.batch / 1e9


def training(scene: Scene, rounds: int, now: Now) -> tuple[float, float]:
    """Seconds of forward and backward, and G multiply-adds of the forward pass."""
    model = detector()
    products = count(model.eval(), {scene.size: 1})
    total = (products.weights + products.attention).total() * scene.batch / 1e9
    model.train()
    images, samples = scene.images(), scene.data_samples()

    def step() -> None:
        model.zero_grad()
        sum(model(images, samples, mode='loss').values()).backward()

    return least(step, rounds, now), total


def denoising(groups: int, rounds: int, now: Now) -> tuple[float, float]:
    """Seconds of forward and backward of the small detector, and G multiply-adds of its forward
    pass, all queries counted.
    """
    init_default_scope('mmdet')
    config = load_config('configs/_base_/models/dn_detr_small.py', {}).model
    config.query_generator.num_groups = groups
    model, scene = MODELS.build(config).train(), Scene(4, (192, 256))
    images, samples = scene.images(), scene.data_samples()
    with torch.no_grad(), ProductCounter(model) as counter:
        model(images, samples, mode='loss')
    total = (counter.weights + counter.attention).total() / 1e9

    def step() -> None:
        model.zero_grad()
        sum(model(images, samples, mode='loss').values()).backward()

    return least(step, 3 * rounds, now), total


def losses(objects: int, rounds: int, now: Now) -> tuple[float, float]:
    """Seconds of matching and losses, forward and backward, and the arithmetic in M numbers that
    are computed.

    They are a logit for every query and class, a cost for every query and object, and, at worst, a
    comparison for every query, object and object before it: so the search for the best assignment
    goes.
    """
    step, _ = our_losses('cpu', [objects] * IMAGES)
    numbers = LAYERS * IMAGES * QUERIES * (CLASSES + objects + objects**2)
    return least(step, 5 * rounds, now), numbers / 1e6


def sweep(values: Sequence[int], measure: Callable[[int], tuple[float, float]]) -> list[Point]:
    """A point for every value."""
    points = []
    for value in values:
        points.append(Point(value, *measure(value)))
        print(f'{value}: {points[-1].seconds:.3g} s', flush=True)
    return points


def sweeps(rounds: int, now: Now) -> dict[str, list[Point]]:
    """What is varied, with its unit -> the points."""
    return {
        'prediction, image of n × n': sweep(
            (400, 800, 1200), lambda side: prediction(QUERIES, Scene(1, (side, side)), rounds, now)
        ),
        'prediction, n queries, 400 × 400': sweep(
            (100, 300, 600, 900), lambda queries: prediction(queries, Scene(1, (400, 400)), rounds, now)
        ),
        'decoder and head, n queries, 400 × 400': sweep(
            (100, 300, 600, 900), lambda queries: decoding(queries, Scene(1, (400, 400)), rounds, now)
        ),
        'training step, n images of 192 × 192': sweep(
            (1, 2, 4, 8, 16), lambda batch: training(Scene(batch, (192, 192)), rounds, now)
        ),
        'prediction, n images of 400 × 400': sweep(
            (1, 2, 4, 8), lambda batch: prediction(QUERIES, Scene(batch, (400, 400)), rounds, now)
        ),
        'training step, n denoising groups': sweep((1, 5, 10, 20), lambda groups: denoising(groups, rounds, now)),
        LOSSES: sweep((1, 10, 30, 100, 300), lambda objects: losses(objects, rounds, now)),
    }


def report(found: dict[str, list[Point]]) -> str:
    """A Markdown table."""
    rows = []
    for title, points in found.items():
        for point, ratio in zip(points, growth(points), strict=True):
            per = f'{1e3 * point.seconds / point.arithmetic:.3g}'
            rows.append((title, point.value, f'{point.seconds:.3g}', f'{point.arithmetic:.3g}', per, f'{ratio:.2g}'))
        rows.append(('', '', '', '', 'exponent', f'**{exponent(points):.2f}**'))
    return side_by_side.table(('what', 'n', 's', 'arithmetic, G or M', 'ms for each', 'of the first'), rows)


def part(args: argparse.Namespace) -> side_by_side.Part:
    """The table, in processor time of one thread, in which what else the machine does counts
    little.
    """
    rounds = args.rounds or 2
    torch.set_num_threads(1)
    found = sweeps(rounds, time.process_time)
    torch.set_num_threads(args.threads)
    how = f'Least processor time of {rounds} rounds, 1 thread.'
    data = {'sweeps': {title: [vars(point) for point in points] for title, points in found.items()}}
    return side_by_side.Part(f'{report(found)}\n\n{how}', data)
