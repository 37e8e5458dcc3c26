"""From the numbers of a dataset to a recipe: all rules, each choice with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmdet_dab.data.base_model import BaseModel
from mmdet_dab.data.statistics import Resizing, Statistics
from mmdet_dab.data.trial import Budget
from mmdet_dab.errors import plural

#: Objects of the 5th percentile shall cover this many strides of the feature map, those of the
#: median
#: more.
STRIDES_SMALL, STRIDES_MEDIAN = 1.0, 2.5
#: The same of the median where the backbone knows ImageNet: blood cells ended with AP 0.586 at 3.1
#: strides and 0.554 at 2.5 (one seed each, 28 and 26 minutes).
STRIDES_MEDIAN_IMAGENET = 3.1
#: Longer side of the images in a training run from scratch, pixels; multiples of the step.
SHORTEST, LONGEST, STEP = 192, 640, 32
#: What the published models were trained on.
COCO_SCALE = (1333, 800)
#: Queries, as a multiple of the objects of the fullest image.
QUERIES_PER_OBJECT, FEWEST_QUERIES, MOST_QUERIES = 2.0, 20, 900
#: Anchors are of one size, the mean, unless sizes of objects (5th and 95th percentile) differ by
#: more
#: than this factor: blood cells, 4, learned faster from one size, a sample of COCO, 27, from six.
SPREAD_OF_ONE_SIZE, MANY_SIZES = 10.0, 6
#: Learning rate from scratch of a step with so many objects; it shrinks with the root of their
#: number, down to the least. Blood cells, 55 a step, end better with 1e-3, chessmen, 17 a step,
#: with
#: 5e-4.
RATE, OBJECTS_PER_STEP, LEAST_RATE = 1e-3, 50, 3e-4
#: The same from ImageNet, where cards, 7 a step, learned best with 8e-4 of 4e-4, 8e-4 and 1.2e-3.
OBJECTS_PER_STEP_IMAGENET, LEAST_RATE_IMAGENET = 12, 6e-4
#: Steps of a training run from scratch for 200 images; they grow with the root of the number of
#: images.
STEPS_OF_200_IMAGES, SHARE_OF_FINE_TUNING = 2800, 0.5
#: The averaged weights reach back over this share of the steps.
SHARE_OF_AVERAGE = 0.17
FEWEST_EPOCHS, MOST_EPOCHS = 12, 300
VALIDATIONS = 10


@dataclass(frozen=True)
class Recipe:
    """Numbers of a config, and why.

    Attributes:
        resizing: of images, in training and after.
        num_queries, max_per_img: queries, and predictions kept.
        anchor_size: width and height of the median object, as fractions of its image.
        num_anchor_sizes: how many sizes the anchors start with.
        batch_size, max_epochs, steps_per_epoch, warm_up, val_interval: the schedule; warm-up in
            steps.
        learning_rate: for AdamW.
        ema_momentum: weight of the newest weights in their average.
        num_workers: processes that load images.
        reasons: what was measured, by the name of the number.
        bfloat16: whether a training run on a CPU computes in it.
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
    bfloat16: bool = False


def suggest(train: Statistics, most_objects: int, base: BaseModel, budget: Budget | None = None) -> Recipe:
    """Choose the numbers of a training run.

    Args:
        train: the training images.
        most_objects: of any image, train or val.
        base: what it builds on.
        budget: time that the training run may take; None: as long as its results get better.

    Raises:
        DataError: the budget is too small.
    """
    if base.small:
        scale, scale_reason = suggest_scale(
            train, base.stride, STRIDES_MEDIAN_IMAGENET if base.imagenet else STRIDES_MEDIAN
        )
    else:
        scale, scale_reason = COCO_SCALE, 'It is that of the checkpoint, on COCO.'
    resizing = Resizing(scale, keep_ratio=not base.small)
    from_scratch = base.checkpoint is None
    num_queries, query_reason = suggest_queries(most_objects, base.num_queries)
    num_images = int((train.counts > 0).sum())
    batch_size = min(4 if base.small else 2, num_images)
    learning_rate, rate_reason = suggest_learning_rate(base, batch_size, float(train.counts.sum() / num_images))
    max_epochs, steps_per_epoch, epoch_reason = suggest_epochs(num_images, batch_size, from_scratch)
    if budget is not None:
        max_epochs, epoch_reason = budget.epochs(steps_per_epoch, VALIDATIONS)
    width, height = train.relative_size()
    num_anchor_sizes, anchor_reason = suggest_anchor_sizes(train)
    share = (train.object_sizes(resizing) < base.stride).mean()
    return Recipe(
        resizing=resizing,
        num_queries=num_queries,
        max_per_img=min(max(100, most_objects), num_queries * len(train.per_class)),
        anchor_size=(_rounded(min(width, 0.95), 2), _rounded(min(height, 0.95), 2)),
        num_anchor_sizes=num_anchor_sizes,
        batch_size=batch_size,
        max_epochs=max_epochs,
        steps_per_epoch=steps_per_epoch,
        warm_up=warm_up_of(max_epochs * steps_per_epoch),
        val_interval=max(1, max_epochs // VALIDATIONS),
        learning_rate=learning_rate,
        ema_momentum=average_over(max_epochs * steps_per_epoch),
        num_workers=1 if num_images < 2000 else 2,
        reasons=dict(
            scale=f'{scale_reason} {share:.1%} of the objects are smaller there than a stride, {base.stride} pixels.',
            queries=query_reason,
            anchors=anchor_reason,
            epochs=epoch_reason,
            learning_rate=rate_reason,
        ),
        bfloat16=budget is not None and budget.bfloat16,
    )


def warm_up_of(steps: int) -> int:
    """Steps of warm-up in a training run of so many."""
    return min(100, max(1, steps // 10))


def average_over(steps: int) -> float:
    """Weight of the newest weights in their average, for a training run of so many steps."""
    return _rounded(min(0.1, 1 / (SHARE_OF_AVERAGE * steps)), 1)


def suggest_scale(
    train: Statistics, stride: int, strides_median: float = STRIDES_MEDIAN
) -> tuple[tuple[int, int], str]:
    """Width and height: as small as the objects allow, which is as fast as they allow; of the
    images' mean shape.
    """
    longer = train.sizes.max(axis=1)
    ratio = float(np.exp(np.log(train.sizes[:, 0] / train.sizes[:, 1]).mean()))
    parts = train.object_sizes() / train.objects[:, 2:].max(axis=1)  # of the longer side
    small, median = np.quantile(parts, [0.05, 0.5])
    wanted = max(STRIDES_SMALL * stride / small, strides_median * stride / median)
    ceiling = min(LONGEST, _multiple(float(np.median(longer))))
    length = int(np.clip(_multiple(wanted), min(SHORTEST, ceiling), ceiling))
    breadth = min(length, _multiple(length * min(ratio, 1 / ratio), STEP // 2))
    held = (
        f': more than {LONGEST} pixels are too slow from scratch' if ceiling == LONGEST else ': images are not enlarged'
    )
    reason = (
        f'The median object shall cover {strides_median:g} strides of the feature map, and covers '
        f'{median * length / stride:.1f}; one of the smallest 5 % shall cover {STRIDES_SMALL:g}, and covers '
        f'{small * length / stride:.1f}{held if wanted > length else ""}.'
    )
    return ((length, breadth) if ratio >= 1 else (breadth, length)), reason


def suggest_queries(most_objects: int, known_queries: int | None) -> tuple[int, str]:
    """Number of queries; those of a checkpoint are kept, since its anchors were learned, unless
    they are too few.
    """
    fullest = f'the fullest image has {plural(most_objects, "object")}.'
    if known_queries is not None and known_queries >= most_objects:
        return known_queries, f'Those of the checkpoint: {fullest}'
    wanted = 10 * math.ceil(QUERIES_PER_OBJECT * most_objects / 10)
    # Never fewer than objects, which would be refused when the training run starts.
    number = max(int(np.clip(wanted, FEWEST_QUERIES, MOST_QUERIES)), most_objects)
    rule = f'{QUERIES_PER_OBJECT:g} for each object'
    if number > wanted:
        rule += f', at least {FEWEST_QUERIES}'
    elif number < wanted:
        rule += f', at most {MOST_QUERIES}, but one for each'
    return number, f'{rule}: {fullest}'


def suggest_anchor_sizes(train: Statistics) -> tuple[int, str]:
    """Number of sizes that anchors start with, and why."""
    parts = train.object_sizes(Resizing((1, 1), keep_ratio=False))
    small, large = np.quantile(parts, [0.05, 0.95])
    num_sizes = 1 if large <= SPREAD_OF_ONE_SIZE * small else MANY_SIZES
    which = 'the mean size' if num_sizes == 1 else f'{num_sizes} sizes'
    return num_sizes, f"of {which} of the training's objects, whose sizes differ by a factor of {large / small:.1f}"


def suggest_learning_rate(base: BaseModel, batch_size: int, objects_per_image: float) -> tuple[float, str]:
    """Learning rate for AdamW, and why: fewer objects in a step make a noisier gradient."""
    if base.checkpoint is not None:
        rate, usual_batch = (RATE * SHARE_OF_FINE_TUNING, 4) if base.small else (1e-4, 16)
        reason = f'{rate:g} for a batch of {usual_batch}, and by its root for others.'
        return _rounded(rate * math.sqrt(batch_size / usual_batch), 1), reason
    objects = batch_size * objects_per_image
    many, least = (OBJECTS_PER_STEP_IMAGENET, LEAST_RATE_IMAGENET) if base.imagenet else (OBJECTS_PER_STEP, LEAST_RATE)
    rate = max(RATE * math.sqrt(min(1, objects / many)), least)
    reason = (
        f'{RATE:g} from {many} objects in a step, and by their root for fewer: fewer make a noisier '
        f'gradient. A step has {objects:.0f}.'
    )
    return _rounded(rate, 1), reason


def suggest_epochs(num_images: int, batch_size: int, from_scratch: bool) -> tuple[int, int, str]:
    """Epochs, steps of each, and why."""
    steps_per_epoch = math.ceil(num_images / batch_size)
    steps = STEPS_OF_200_IMAGES * math.sqrt(num_images / 200) * (1 if from_scratch else SHARE_OF_FINE_TUNING)
    epochs = int(np.clip(math.ceil(steps / steps_per_epoch), FEWEST_EPOCHS, MOST_EPOCHS))
    reason = (
        f'{plural(num_images, "image")} with objects: {plural(steps_per_epoch, "step")} of {batch_size}, '
        f'{epochs * steps_per_epoch:,} steps in all.'
    )
    return epochs, steps_per_epoch, reason


def _multiple(value: float, step: int = STEP) -> int:
    return step * math.ceil(value / step - 1e-9)


def _rounded(value: float, digits: int) -> float:
    """To so many digits that count."""
    return float(f'{value:.{digits}g}')
