"""Why a training does not learn: one function for each cause, from recorded steps to a message.

The thresholds lie between the values of healthy and of broken training runs (docs/studies.md has
the figures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from mmdet_dab.errors import listed, plural

#: The page that explains what to do for each alarm.
HELP = 'docs/own_data.md'
#: With a rate up to this, a weight moves less in thousands of steps than in one step of a usual
#: rate.
NO_RATE = 1e-8


@dataclass
class Window:
    """What was recorded in consecutive steps.

    Attributes:
        ious: of each sampled object, the IoU with the box that fits it best.
        spreads: per sampled step, the standard deviation of a query's logits over the images of the
            batch, or over the queries where the batch has one image.
        clipped: per step, the norm of the gradient divided by the norm that it was clipped to.
        rates: per parameter group, the highest learning rate.
        objects: number in the images of all steps, after the pipeline.
        empty: number of images without an object.
        images: number in all steps.
    """

    ious: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    objects: int = 0
    empty: int = 0
    images: int = 0


@dataclass(frozen=True)
class Group:
    """A parameter group of the optimizer.

    Attributes:
        names: of the parameters that are trained.
        start: learning rate before any schedule; 0 is on purpose (``lr_mult=0``) where other groups
            have a rate.
        eps: what Adam adds to the root of its second moment; None for optimizers without second
            moments.
    """

    names: tuple[str, ...]
    start: float
    eps: float | None


def no_match(ious: Sequence[float], iou: float = 0.3, share: float = 0.01) -> str | None:
    """Fewer than ``share`` of the objects ever had a box with this IoU."""
    if not ious or sum(value >= iou for value in ious) >= share * len(ious):
        return None
    return (
        f'no box comes near an object: the best IoU of {plural(len(ious), "object")} is {max(ious):.2f}, the median '
        f'{median(ious):.2f}. Either anchors and objects differ in size (model.query_generator.initial_anchors), or '
        'the annotations do not belong to these images (bbox is x, y, w, h in pixels of the file), or nothing is '
        'learned at all (see the other warnings)'
    )


def flat_scores(spreads: Sequence[float], least: float = 5e-4) -> str | None:
    """In the later half of the steps all images have the same scores; those of random weights
    differ.
    """
    late = spreads[len(spreads) // 2 :]
    if not late or max(late) >= least:
        return None
    return (
        f'class scores are flat: the logits of all images are the same within {max(late):.1g}. Either the training has '
        'collapsed (lower optim_wrapper.optimizer.lr, and start again), or the model gets empty images '
        '(model.data_preprocessor.mean and std)'
    )


def clipped_gradients(clipped: Sequence[float], max_norm: float, num_weights: int, eps: float | None) -> str | None:
    """Gradients are clipped at every step, to a length from which nothing is learned.

    Clipping at every step is healthy by itself: DETR's recipe does it, and Adam divides by the
    length of the gradient. It fails where the clipped gradient is small beside Adam's ``eps``;
    other optimizers take shorter steps.

    Args:
        clipped: norms before clipping, divided by ``max_norm``.
        max_norm: ``optim_wrapper.clip_grad.max_norm``.
        num_weights: number of weights in the norm.
        eps: of Adam, or None for another optimizer.
    """
    if not clipped or min(clipped) <= 1:
        return None
    each = max_norm / math.sqrt(max(num_weights, 1))
    too_short = median(clipped) > 10 if eps is None else each < eps
    if not too_short:
        return None
    left = '' if eps is None else f', which leaves {each:.1g} for a weight, less than eps={eps:.1g} of the optimizer'
    return (
        f'gradients were clipped at every step, to 1/{median(clipped):.3g} of their length{left}: little or nothing '
        f'is learned. Raise optim_wrapper.clip_grad.max_norm (now {max_norm:.3g})'
    )


def no_learning_rate(groups: Sequence[Group], rates: Sequence[float]) -> str | None:
    """Groups that should be trained, but whose rate stayed at zero."""
    trained = [(group, rate) for group, rate in zip(groups, rates, strict=True) if group.names]
    if all(group.start <= NO_RATE for group, _ in trained):
        text = 'the learning rate is 0, and nothing is trained: set optim_wrapper.optimizer.lr'
        return text if trained else None
    still = [group for group, rate in trained if rate <= NO_RATE < group.start]
    if not still:
        return None
    if len(still) == len([group for group, _ in trained if group.start > NO_RATE]):
        who = 'of all parameters'
    else:
        who = f'of {listed([name for group in still for name in group.names], 4)}'
    start = max(group.start for group in still)
    return (
        f'the learning rate {who} was 0 at every step, though optim_wrapper gives {start:.3g}: '
        'param_scheduler brings it to 0 (by_epoch: whether begin and end count epochs or steps; factors multiply)'
    )


def without_optimizer(names: Sequence[str]) -> str | None:
    """Parameters that require a gradient, but are in no group of the optimizer."""
    if not names:
        return None
    return (
        f'{plural(len(names), "parameter")} of the model in no group of the optimizer will not be trained '
        f'({listed(names, 4)}): see optim_wrapper.constructor and paramwise_cfg, or set requires_grad=False'
    )


def lost_objects(window: Window, objects: float, empty: float) -> str | None:
    """The pipeline loses half of all objects, or all objects of many images.

    Args:
        window: what the pipeline returned.
        objects: mean number in an image, by the annotations.
        empty: share of images without objects, by the annotations.
    """
    if not window.images or not objects or empty >= 1:
        return None
    left = window.objects / window.images / objects
    emptied = (window.empty / window.images - empty) / (1 - empty)
    if left >= 0.5 and emptied < 0.25:
        return None
    return (
        f'the pipeline loses objects: {left * objects:.2g} of {objects:.2g} are left in an image on average, and '
        f'{max(emptied, 0):.0%} of the images lose all of theirs. Crop less (RandomCrop.crop_size, '
        'or min_ious, in train_dataloader.dataset.pipeline), or filter less (FilterAnnotations)'
    )


def nothing_loaded(taken: int, total: int, what: str, fix: str, least: float = 0.25) -> str | None:
    """A checkpoint supplied almost no weights.

    Args:
        taken: number of weights that came from it.
        total: number of weights of the model, or of the part that it is for.
        what: the checkpoint, and the part that it is for.
        fix: what to do.
        least: share of the weights. (A ResNet-50 backbone alone is half of a DAB-DETR R50.)
    """
    if taken >= least * total:
        return None
    return f'{what} gave {taken} of {total} weights ({taken / max(total, 1):.0%}); the others are random. {fix}'
