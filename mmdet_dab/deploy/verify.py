"""An exported file against the detector that it was made of: sizes, batches and padding that
differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import nn

from mmdet_dab.deploy.backends import BACKENDS, Detections
from mmdet_dab.deploy.metadata import Metadata
from mmdet_dab.models.encoder_queries import EncoderQueryGenerator

#: Canvas sizes (height, width) of a check, in multiples of no stride; and batch sizes.
CANVASES = ((96, 128), (160, 107), (131, 230))
BATCHES = (1, 2, 5)


#: One box of so many may be so many times as far away: in a trained detector the exponential
#: functions of a runtime, whose last bits differ from PyTorch's, move a box now and then by more
#: than the others. A size that is baked in moves all of them, and by far more.
ONE_IN, FARTHER = 50, 10


class Tolerance(NamedTuple):
    """How far a file may be from its detector.

    Attributes:
        score: of the score at the same rank.
        box: of a box, in parts of the image; one of :data:`ONE_IN` may be :data:`FARTHER` times as
            far away.
        relative: of a score, in parts of it: predictions that are closer may swap places.
    """

    score: float
    box: float
    relative: float


#: Precision -> what it may cost. Half precision keeps 11 bits of a weight, bfloat16 8 bits.
TOLERANCES = MappingProxyType(
    {
        'float32': Tolerance(1e-5, 1e-5, 0.0),
        'float16': Tolerance(0.01, 0.01, 0.01),
        'bfloat16': Tolerance(0.05, 0.05, 0.05),
    }
)


class Difference(NamedTuple):
    """How far two runs of one batch are apart.

    Attributes:
        batch, height, width: of the batch.
        score: largest difference of the scores at the same rank.
        box: largest difference of a box, in parts of the image, ties by score aside, but for one
            of :data:`ONE_IN`.
        farthest: that of all.
        unmatched: predictions without a counterpart of the same label and score.
    """

    batch: int
    height: int
    width: int
    score: float
    box: float
    farthest: float
    unmatched: int


def batches(seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (B, 3, H, W) float32 and valid sizes (B, 2) int64, mixed within a batch."""
    random = np.random.default_rng(seed)
    for height, width in CANVASES:
        for batch in BATCHES:
            images = random.standard_normal((batch, 3, height, width), dtype=np.float32)
            shares = np.stack((1 - 0.11 * np.arange(batch), 1 - 0.07 * np.arange(batch)[::-1]), axis=1)
            valid = np.ceil(shares * (height, width)).astype(np.int64)
            for image, (valid_height, valid_width) in zip(images, valid, strict=True):
                image[:, valid_height:] = 0
                image[:, :, valid_width:] = 0
            yield images, valid


def difference(
    expected: Detections, found: Detections, size: tuple[int, int], close: float = 1e-5, relative: float = 0.0
) -> Difference:
    """Compare the predictions of a batch.

    Predictions whose scores differ by less than ``close`` may swap places. A box is therefore
    compared with the nearest among those of its label and score. Those whose score is that of the
    last one kept may be missing.

    Args:
        expected: scores (B, K), labels (B, K), boxes (B, K, 4).
        found: the same of the other run.
        size: height and width of the canvas.
        close: scores that count as equal.
        relative: further, in parts of a score.
    """
    apart, unmatched = list[float](), 0
    for row in range(len(expected[0])):
        scores, labels, boxes = (part[row] for part in expected)
        other_scores, other_labels, other_boxes = (part[row] for part in found)
        certain = scores > scores[-1] + close + relative * scores
        for score, label, box in zip(scores[certain], labels[certain], boxes[certain], strict=True):
            alike = (other_labels == label) & (np.abs(other_scores - score) <= close + relative * score)
            if not alike.any():
                unmatched += 1
                continue
            apart.append(float(np.abs(other_boxes[alike] - box).max(axis=1).min()))
    score = float(np.abs(expected[0] - found[0]).max(initial=0))
    usual = sorted(apart)[: len(apart) - len(apart) // ONE_IN]
    return Difference(len(expected[0]), *size, score, max(usual, default=0.0), max(apart, default=0.0), unmatched)


def eager(model: Any, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
    """What the detector itself predicts for normalised images (B, 3, H, W), by its data samples and
    its head: none of it is code of the exporter."""
    sizes = [tuple(size) for size in valid_sizes.tolist()]
    samples = [DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))) for size in sizes]
    for sample in samples:
        sample.set_metainfo(dict(batch_input_shape=images.shape[2:], pad_shape=images.shape[2:]))
    with torch.no_grad():
        found = [sample.pred_instances for sample in model(torch.from_numpy(images), samples, mode='predict')]
    unit = np.tile(valid_sizes[:, None, ::-1], 2).astype(np.float32)  # (B, 1, 4): w h w h
    scores, labels, boxes = (
        torch.stack([one[key] for one in found]).float().numpy() for key in ('scores', 'labels', 'bboxes')
    )
    return scores, labels.astype(np.int64), boxes / unit


def as_pixels(images: np.ndarray, valid_sizes: np.ndarray, metadata: Metadata) -> tuple[np.ndarray, np.ndarray]:
    """Images (B, 3, H, W) as uint8 for a file that normalises, and these normalised as the data
    preprocessor does, with padding of zeros."""
    pixels = (images * 40 + 128).clip(0, 255).astype(np.uint8)
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (metadata.mean, metadata.std))
    normalised = (pixels.astype(np.float32) - mean) / std
    for image, (height, width) in zip(normalised, valid_sizes, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return pixels, normalised


def compared(model: Any, path: Path, metadata: Metadata) -> Iterator[Difference]:
    """The differences between the detector and a file, batch by batch."""
    backend = BACKENDS[path.suffix](path)
    tolerance = TOLERANCES[metadata.precision]
    for images, valid in batches():
        given = images
        if metadata.input == 'uint8':
            given, images = as_pixels(images, valid, metadata)
        found = backend.run(given, valid)
        size = (images.shape[2], images.shape[3])
        yield difference(eager(model, images, valid), found, size, relative=tolerance.relative)


def row(*cells: object) -> str:
    """A line of the table of differences."""
    return '  '.join(f'{cell!s:>9}' for cell in cells)


def ranking_part(model: nn.Module) -> str:
    """The part whose queries go by the rank of a cell, by its name in the config, or ''.

    Two cells that score alike to the last bits may swap places, and all boxes move.
    """
    for name, part in model.named_modules():
        if isinstance(part, EncoderQueryGenerator):
            return f'{name} ({type(part).__name__})'
    return ''


def refusal(differences: Sequence[Difference], precision: str, ranking: str = '') -> str | None:
    """Why a file is not equal to its detector, or None; see :func:`ranking_part`."""
    tolerance = TOLERANCES[precision]

    def excess(found: Difference) -> float:
        box = max(found.box, found.farthest / FARTHER)
        return max(found.score / tolerance.score, box / tolerance.box, 2.0 * found.unmatched)

    worst = max(differences, key=excess)
    if excess(worst) <= 1:
        return None
    reason = 'A part bakes a size or a batch in: please report the config.'
    if ranking:
        reason = f'{ranking} ranks cells, and a runtime may rank two that score alike the other way round.'
    if precision != 'float32':
        reason = f'The detector does not bear {precision}: take float32.'
    return (
        f'the exported file is not equal to the detector for a batch of {worst.batch} at '
        f'{worst.height}×{worst.width} (scores {worst.score:.1e}, boxes {worst.box:.1e}, the farthest '
        f'{worst.farthest:.1e}, {worst.unmatched} predictions without a counterpart; allowed are {tolerance.score:g}, '
        f'{tolerance.box:g}, {FARTHER * tolerance.box:g} and 0), and was not kept. {reason}'
    )
