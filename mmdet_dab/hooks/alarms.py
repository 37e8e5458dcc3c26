"""What is wrong with a training that does not learn: each alarm one function, from what was seen to a sentence.

The thresholds stand between what healthy runs showed and what broken ones did (docs/own_data.md has the figures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from mmdet_dab.errors import listed

#: The page that says what to do for each alarm.
HELP = 'docs/own_data.md'
#: With a rate up to this, no weight moves in thousands of steps as far as it does in one step of a usual rate.
NO_RATE = 1e-8


@dataclass
class Window:
    """What was seen of some steps in a row.

    Attributes:
        ious: of each sampled object, the IoU with the box that fits it best.
        spreads: per sampled step, how far a query's logits differ from picture to picture (standard deviation), or, of
            a batch of one picture, from query to query.
        clipped: per step, the norm of the gradient in parts of the norm that it was clipped to.
        rates: per parameter group, the highest learning rate.
        objects: in the pictures of all steps, as they came out of the pipeline.
        empty: pictures without an object.
        pictures: of all steps.
    """

    ious: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    objects: int = 0
    empty: int = 0
    pictures: int = 0


@dataclass(frozen=True)
class Group:
    """A parameter group of the optimizer.

    Attributes:
        names: of its parameters that are trained.
        start: its learning rate before any schedule; 0 is on purpose (``lr_mult=0``) where others have one.
        eps: what an Adam adds to the root of its second moment; None for optimizers that do not divide by one.
    """

    names: tuple[str, ...]
    start: float
    eps: float | None


def no_match(ious: Sequence[float], iou: float = 0.3, share: float = 0.01) -> str | None:
    """Hardly any object ever had a box at ``iou``: less than ``share`` of them."""
    if not ious or sum(value >= iou for value in ious) >= share * len(ious):
        return None
    return (
        f'no box comes near an object: the best fit of {len(ious)} objects is an IoU of {max(ious):.2f}, and half of '
        f'them stay below {median(ious):.2f}. Anchors may be of another size than the objects '
        '(model.query_generator.initial_anchors), the annotations not of these pictures (bbox is x, y, w, h in pixels '
        'of the file), or nothing is learned at all (see the other alarms)'
    )


def flat_scores(spreads: Sequence[float], least: float = 5e-4) -> str | None:
    """In the later half of the steps, every picture gets the same scores: those of random weights did differ."""
    late = spreads[len(spreads) // 2 :]
    if not late or max(late) >= least:
        return None
    return (
        f'class scores are flat: the logits are the same for every picture, within {max(late):.1g}. The training has '
        'collapsed (lower optim_wrapper.optimizer.lr, and start again), or the pictures that arrive show nothing '
        '(model.data_preprocessor.mean and std)'
    )


def clipped_gradients(clipped: Sequence[float], max_norm: float, num_weights: int, eps: float | None) -> str | None:
    """Gradients cut at every step, to so little that nothing is learned from them.

    Clipping at every step alone is healthy: DETR's recipe does it, and Adam divides the length of the gradient out. It
    cannot where the clipped gradient drowns in its ``eps``, and an optimizer of another kind takes shorter steps.

    Args:
        clipped: norms before clipping, in parts of ``max_norm``.
        max_norm: ``optim_wrapper.clip_grad.max_norm``.
        num_weights: how many share the norm.
        eps: of Adam, or None for an optimizer of another kind.
    """
    if not clipped or min(clipped) <= 1:
        return None
    each = max_norm / math.sqrt(max(num_weights, 1))
    drowned = median(clipped) > 10 if eps is None else each < eps
    if not drowned:
        return None
    wherein = '' if eps is None else f', which leaves {each:.1g} for a weight, less than eps={eps:.1g} of the optimizer'
    return (
        f'gradients were clipped at every step, to 1/{median(clipped):.3g} of their length{wherein}: little or nothing '
        f'is learned. Raise optim_wrapper.clip_grad.max_norm (now {max_norm:.3g})'
    )


def no_learning_rate(groups: Sequence[Group], rates: Sequence[float]) -> str | None:
    """Groups that are to be trained and whose rate stayed at zero."""
    trained = [(group, rate) for group, rate in zip(groups, rates, strict=True) if group.names]
    if all(group.start <= NO_RATE for group, _ in trained):
        what = 'the learning rate is 0, and nothing is trained: set optim_wrapper.optimizer.lr'
        return what if trained else None
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
        'param_scheduler takes it away (by_epoch, begin and end count epochs or steps, and the factors multiply)'
    )


def without_optimizer(names: Sequence[str]) -> str | None:
    """Parameters that want a gradient, and that no group of the optimizer holds."""
    if not names:
        return None
    return (
        f'{len(names)} parameters are in no group of the optimizer and stay as they are ({listed(names, 4)}): see '
        'optim_wrapper.constructor and paramwise_cfg; what shall not be trained wants requires_grad=False'
    )


def lost_objects(window: Window, objects: float, empty: float) -> str | None:
    """Objects that the pipeline drops: half of all, or all of many a picture.

    Args:
        window: what came out of the pipeline.
        objects: a picture has in the annotations, on average.
        empty: part of the pictures that have none in the annotations.
    """
    if not window.pictures or not objects or empty >= 1:
        return None
    left = window.objects / window.pictures / objects
    emptied = (window.empty / window.pictures - empty) / (1 - empty)
    if left >= 0.5 and emptied < 0.25:
        return None
    return (
        f'objects get lost in the pipeline: {left * objects:.2g} of {objects:.2g} are left in a picture, and '
        f'{max(emptied, 0):.0%} of the pictures lose all they have. Crop less (RandomCrop.crop_size, '
        'or min_ious, in train_dataloader.dataset.pipeline), or filter less (FilterAnnotations)'
    )


def nothing_loaded(taken: int, total: int, what: str, mend: str, least: float = 0.25) -> str | None:
    """A checkpoint that gave next to nothing.

    Args:
        taken: weights that came from it.
        total: weights of the model, or of the part that it is for.
        what: the checkpoint, and for whom.
        mend: what to do.
        least: part of the weights. (A ResNet-50 backbone alone is half of a DAB-DETR R50.)
    """
    if taken >= least * total:
        return None
    return f'{what} gave {taken} of {total} weights, {taken / max(total, 1):.0%}; the others start afresh. {mend}'
