"""From the numbers of a dataset to a recipe. Every rule stands here, and every choice says by what it was made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmdet_dab.data.base_model import Start
from mmdet_dab.data.statistics import Measures, Resizing

#: Objects of the 5th percentile shall cover this many strides of the feature map, those of the median more.
STRIDES_SMALL, STRIDES_MEDIAN = 1.0, 2.5
#: Longer side of the pictures in a training from scratch, pixels; multiples of the step.
SHORTEST, LONGEST, STEP = 192, 640, 32
#: What the published models were trained on.
COCO_SCALE = (1333, 800)
#: Queries, as a multiple of the objects of the fullest picture.
QUERIES_PER_OBJECT, FEWEST_QUERIES, MOST_QUERIES = 2.0, 20, 900
#: Anchors are of one size, the mean, unless sizes of objects (5th and 95th percentile) differ by more than this factor:
#: blood cells, 4, learned faster from one size, a sample of COCO, 27, from six.
SPREAD_OF_ONE_SIZE, MANY_SIZES = 10.0, 6
#: Learning rate from scratch of a step with so many objects; it shrinks with the root of their number, down to the
#: least. Blood cells, 55 a step, end better with 1e-3, chessmen, 17 a step, with 5e-4.
RATE, OBJECTS_PER_STEP, LEAST_RATE = 1e-3, 50, 3e-4
#: Steps of a training from scratch for 200 pictures; they grow with the root of the number of pictures.
STEPS_OF_200_PICTURES, SHARE_OF_FINE_TUNING = 2800, 0.5
#: The averaged weights reach back over this share of the steps; the first steps, up to EMA_WARM_UP, hardly count.
SHARE_OF_AVERAGE, EMA_WARM_UP = 0.17, 200
FEWEST_EPOCHS, MOST_EPOCHS = 12, 300
VALIDATIONS = 10


@dataclass(frozen=True)
class Recipe:
    """Figures of a config, and why.

    Attributes:
        resizing: of pictures, in training and after.
        num_queries, max_per_img: queries, and predictions kept.
        anchor_size: width and height of the median object, as parts of its picture.
        num_anchor_sizes: how many sizes the anchors start with.
        batch_size, max_epochs, steps_per_epoch, warm_up, val_interval: the schedule; warm-up in steps.
        learning_rate: for AdamW.
        ema_momentum: weight of the newest weights in their average.
        num_workers: processes that load pictures.
        reasons: what was measured, by the name of the figure.
    """

    resizing: Resizing
    num_queries: int
    max_per_img: int
    anchor_size: tuple[float, float]
    num_anchor_sizes: int
    batch_size: int
    max_epochs: int
    steps_per_epoch: int
    warm_up: int
    val_interval: int
    learning_rate: float
    ema_momentum: float
    num_workers: int
    reasons: dict[str, str]


def suggest(train: Measures, most_objects: int, start: Start) -> Recipe:
    """Choose the figures of a training.

    Args:
        train: the training pictures.
        most_objects: of any picture, train or val.
        start: what it starts from.
    """
    if start.small:
        scale, scale_reason = suggest_scale(train, start.stride)
    else:
        scale, scale_reason = COCO_SCALE, 'It is that of the checkpoint, on COCO.'
    resizing = Resizing(scale, keep_ratio=not start.small)
    from_scratch = start.checkpoint is None
    num_queries, query_reason = suggest_queries(most_objects, start.num_queries)
    num_pictures = int((train.counts > 0).sum())
    batch_size = min(4 if start.small else 2, num_pictures)
    learning_rate, rate_reason = suggest_learning_rate(start, batch_size, float(train.counts.sum() / num_pictures))
    max_epochs, steps_per_epoch, epoch_reason = suggest_epochs(num_pictures, batch_size, from_scratch)
    width, height = train.relative_size()
    num_anchor_sizes, anchor_reason = suggest_anchor_sizes(train)
    share = (train.object_sizes(resizing) < start.stride).mean()
    return Recipe(
        resizing=resizing,
        num_queries=num_queries,
        max_per_img=min(max(100, most_objects), num_queries * len(train.per_class)),
        anchor_size=(_rounded(min(width, 0.95), 2), _rounded(min(height, 0.95), 2)),
        num_anchor_sizes=num_anchor_sizes,
        batch_size=batch_size,
        max_epochs=max_epochs,
        steps_per_epoch=steps_per_epoch,
        warm_up=min(100, max(1, max_epochs * steps_per_epoch // 10)),
        val_interval=max(1, max_epochs // VALIDATIONS),
        learning_rate=learning_rate,
        ema_momentum=_rounded(min(0.1, 1 / (SHARE_OF_AVERAGE * max_epochs * steps_per_epoch)), 1),
        num_workers=1 if num_pictures < 2000 else 2,
        reasons=dict(
            scale=f'{scale_reason} {share:.1%} of the objects are smaller there than a stride, {start.stride} pixels.',
            queries=query_reason,
            anchors=anchor_reason,
            epochs=epoch_reason,
            learning_rate=rate_reason,
        ),
    )


def suggest_scale(train: Measures, stride: int) -> tuple[tuple[int, int], str]:
    """Width and height: as small as the objects allow, which is as fast as they allow; of the pictures' mean shape."""
    longer = train.sizes.max(axis=1)
    ratio = float(np.exp(np.log(train.sizes[:, 0] / train.sizes[:, 1]).mean()))
    parts = train.object_sizes() / train.objects[:, 2:].max(axis=1)  # of the longer side
    small, median = np.quantile(parts, [0.05, 0.5])
    wanted = max(STRIDES_SMALL * stride / small, STRIDES_MEDIAN * stride / median)
    ceiling = min(LONGEST, _multiple(float(np.median(longer))))
    length = int(np.clip(_multiple(wanted), min(SHORTEST, ceiling), ceiling))
    breadth = min(length, _multiple(length * min(ratio, 1 / ratio), STEP // 2))
    held = (
        f': more than {LONGEST} pixels are too slow from scratch'
        if ceiling == LONGEST
        else ': pictures are not enlarged'
    )
    reason = (
        f'The median object shall cover {STRIDES_MEDIAN:g} strides of the feature map, and covers '
        f'{median * length / stride:.1f}; one of the smallest 5 % shall cover {STRIDES_SMALL:g}, and covers '
        f'{small * length / stride:.1f}{held if wanted > length else ""}.'
    )
    return ((length, breadth) if ratio >= 1 else (breadth, length)), reason


def suggest_queries(most_objects: int, known_queries: int | None) -> tuple[int, str]:
    """Number of queries; those of a checkpoint are kept, since its anchors were learned, unless they are too few."""
    fullest = f'the fullest picture has {most_objects} object{"s" * (most_objects != 1)}.'
    if known_queries is not None and known_queries >= most_objects:
        return known_queries, f'Those of the checkpoint: {fullest}'
    wanted = 10 * math.ceil(QUERIES_PER_OBJECT * most_objects / 10)
    return int(np.clip(wanted, FEWEST_QUERIES, MOST_QUERIES)), f'{QUERIES_PER_OBJECT:g} for every object: {fullest}'


def suggest_anchor_sizes(train: Measures) -> tuple[int, str]:
    """Number of sizes that anchors start with, and why."""
    parts = train.object_sizes(Resizing((1, 1), keep_ratio=False))
    small, large = np.quantile(parts, [0.05, 0.95])
    num_sizes = 1 if large <= SPREAD_OF_ONE_SIZE * small else MANY_SIZES
    which = 'the mean size' if num_sizes == 1 else f'{num_sizes} sizes'
    return num_sizes, f"of {which} of the training's objects, whose sizes differ by a factor of {large / small:.1f}"


def suggest_learning_rate(start: Start, batch_size: int, objects_per_picture: float) -> tuple[float, str]:
    """Learning rate for AdamW, and why: fewer objects in a step make a noisier gradient."""
    if start.checkpoint is not None:
        rate, usual_batch = (RATE * SHARE_OF_FINE_TUNING, 4) if start.small else (1e-4, 16)
        reason = f'{rate:g} for a batch of {usual_batch}, and by its root for others.'
        return _rounded(rate * math.sqrt(batch_size / usual_batch), 1), reason
    objects = batch_size * objects_per_picture
    rate = max(RATE * math.sqrt(min(1, objects / OBJECTS_PER_STEP)), LEAST_RATE)
    reason = (
        f'{RATE:g} from {OBJECTS_PER_STEP} objects in a step, and by their root for fewer: fewer make a noisier '
        f'gradient. A step has {objects:.0f}.'
    )
    return _rounded(rate, 1), reason


def suggest_epochs(num_pictures: int, batch_size: int, from_scratch: bool) -> tuple[int, int, str]:
    """Epochs, steps of each, and why."""
    steps_per_epoch = math.ceil(num_pictures / batch_size)
    steps = STEPS_OF_200_PICTURES * math.sqrt(num_pictures / 200) * (1 if from_scratch else SHARE_OF_FINE_TUNING)
    epochs = int(np.clip(math.ceil(steps / steps_per_epoch), FEWEST_EPOCHS, MOST_EPOCHS))
    reason = (
        f'{num_pictures} pictures with objects are {steps_per_epoch} steps of {batch_size}, '
        f'{epochs * steps_per_epoch:,} steps in all.'
    )
    return epochs, steps_per_epoch, reason


def _multiple(value: float, step: int = STEP) -> int:
    return step * math.ceil(value / step - 1e-9)


def _rounded(value: float, digits: int) -> float:
    """To so many digits that count."""
    return float(f'{value:.{digits}g}')
