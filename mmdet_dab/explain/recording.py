"""Run a detector on an image and keep what its queries saw: attention, anchors, scores, boxes.

    from mmdet_dab.config import build
    from mmdet_dab.explain import record

    model = build('shapes/demo', 'work_dirs/demo/iter_2400.pth')
    recording = record(model, 'image.png')
    recording.cross[2].weights      # (H, n, S) of the third decoder layer

The forward pass is the detector's own, and its predictions are bit-equal to those without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_dab.errors import UserError, listed
from mmdet_dab.explain import formula as formulas
from mmdet_dab.explain.answers import Answers, GroundTruth, Run, listening, run_of
from mmdet_dab.explain.attentions import Dot, DotAttention, Place, PointAttention, Points, layers_of, places
from mmdet_dab.explain.formula import PositionalFormula
from mmdet_dab.explain.tap import Call, tapped
from mmdet_dab.models.matcher import in_parts_of_image

Attention = DotAttention | PointAttention


@dataclass(frozen=True)
class Recording:
    """What was seen in one image; L decoder layers, N queries, C classes, S cells, T objects.

    Boxes are cx cy w h in parts of the image. All tensors are on the CPU.

    Attributes:
        queries: (n,) long, the recorded queries: the order of all that has n.
        layers: the recorded decoder layers: the keys of ``cross`` and ``self_attention``.
        anchors: (L, N, 4), the anchors that each layer is given, NaN for coordinates that they
            lack: w and h of points, all of learned positions.
        anchors_after: the same after each layer: what the next is given; after the last, the box.
        references: the same, what the boxes of each layer are measured from.
        boxes: (L, N, 4), what each layer answers.
        scores: (L, N, C), what each layer answers; with a softmax, background left out.
        matched: (L, N) long, the object that the model's matcher gives to each query by the
            answers of each layer, −1 for none; None without ground truth.
        ground_truth: the objects of the image, or None.
        cross: cross-attention of the n queries, by decoder layer; layers that cannot be read are
            missing.
        self_attention: attention of the n queries to all N, by decoder layer.
        encoder: attention of the chosen cells to all S, by encoder layer.
        cells: (c,) long, the chosen cells.
        shapes: (height, width) of the feature levels.
        padding: (S,) bool, True on cells that are padding, or None.
        valid_ratios: (V, 2), the part (in x, in y) of each level that is image.
        img_shape: (height, width) of the image in pixels, as the detector was given it.
        ori_shape: the same, as it was loaded.
        predictions: the detector's own, with ``bboxes`` x1 y1 x2 y2 in pixels of the loaded image.
        formula: of the position part of ``cross``, or None, see :mod:`mmdet_dab.explain.formula`.
    """

    queries: Tensor
    layers: tuple[int, ...]
    anchors: Tensor
    anchors_after: Tensor
    references: Tensor
    boxes: Tensor
    scores: Tensor
    matched: Tensor | None
    ground_truth: GroundTruth | None
    cross: Mapping[int, Attention]
    self_attention: Mapping[int, Attention]
    encoder: Mapping[int, Attention]
    cells: Tensor
    shapes: tuple[tuple[int, int], ...]
    padding: Tensor | None
    valid_ratios: Tensor
    img_shape: tuple[int, int]
    ori_shape: tuple[int, int]
    predictions: InstanceData
    formula: PositionalFormula | None

    def row(self, query: int) -> int:
        """Where query number ``query`` stands among the n recorded ones.

        Raises:
            UserError: it was not recorded.
        """
        found = (self.queries == query).nonzero()
        if not len(found):
            raise UserError(f'query {query} was not recorded: take one of {listed(self.queries.tolist())}')
        return int(found[0])

    def cell_at(self, x: float, y: float, level: int = 0) -> int:
        """The cell (of S) that shows the point x, y of the image, in 0..1."""
        return cell_at((x, y), self.shapes, self.valid_ratios, level)

    def as_maps(self, of_cells: Tensor, level: int = 0) -> Tensor:
        """(..., S) -> (..., height, width) of one level, padding included."""
        sizes = [height * width for height, width in self.shapes]
        return of_cells.split(sizes, dim=-1)[level].unflatten(-1, self.shapes[level])


def cell_at(point: tuple[float, float], shapes: Sequence[tuple[int, int]], valid_ratios: Tensor, level: int = 0) -> int:
    """The cell that shows a point x, y in parts of the image.

    Raises:
        UserError: the point is outside of the image.
    """
    _check_point(point)
    # The right and lower border of the image belong to its last cells, not to padding.
    sizes = zip(point, valid_ratios[level].tolist(), reversed(shapes[level]), strict=True)
    column, row = (min(int(part * ratio * size), max(round(ratio * size), 1) - 1) for part, ratio, size in sizes)
    return sum(h * w for h, w in shapes[:level]) + row * shapes[level][1] + column


def record(
    model: Any,
    image: str | Path | np.ndarray,
    queries: Iterable[int] | Callable[[Answers], Iterable[int]] | None = None,
    layers: Iterable[int] | None = None,
    cells: Iterable[tuple[float, float]] = (),
    ground_truth: InstanceData | None = None,
) -> Recording:
    """Run a detector on one image and keep what its queries saw.

    Memory: an attention of n queries takes 3 to 5 · 4 · H · n · S bytes a layer; choose queries
    and layers to bound it.

    Args:
        model: as :func:`mmdet_dab.config.build` gives it, or mmdet's ``init_detector``.
        image: a file, or (H, W, 3) uint8 BGR, as mmdet reads images.
        queries: their numbers, or a function that chooses them by what the model answered; None:
            all.
        layers: decoder layers, from 0; None: all.
        cells: points x, y in parts of the image, whose self-attention in the encoder is kept.
        ground_truth: ``bboxes`` x1 y1 x2 y2 in pixels of the image as it is loaded, and ``labels``.

    Raises:
        UserError: a query, layer or cell out of range; a model without decoder queries; labels that
            the model does not have.
    """
    inputs, samples = load_batch(model, image, ground_truth)
    return record_batch(model, inputs, samples, queries, layers, cells)[0]


def load_batch(
    model: Any, image: str | Path | np.ndarray, ground_truth: InstanceData | None = None
) -> tuple[Tensor, list[DetDataSample]]:
    """One image through the test pipeline and the data preprocessor of a model; see
    :func:`record`."""
    from mmcv.transforms import Compose
    from mmdet.utils import get_test_pipeline_cfg

    cfg = getattr(model, 'cfg', None)
    if cfg is None:
        raise UserError(
            f'{type(model).__name__} has no cfg, whose test pipeline loads images: build it with mmdet_dab.build or '
            "mmdet's init_detector"
        )
    pipeline = get_test_pipeline_cfg(cfg.copy())
    if isinstance(image, np.ndarray):
        pipeline[0].type = 'mmdet.LoadImageFromNDArray'
        start = dict(img=image, img_id=0)
    else:
        start = dict(img_path=str(image), img_id=0)
    loaded = Compose(pipeline)(start)
    data = model.data_preprocessor(dict(inputs=[loaded['inputs']], data_samples=[loaded['data_samples']]), False)
    (sample,) = data['data_samples']
    sample.pop('gt_instances', None)  # empty, where the pipeline would load annotations
    if ground_truth is not None:
        height, width = sample.img_shape[:2]
        was_height, was_width = sample.ori_shape[:2]
        factor = torch.tensor([width / was_width, height / was_height] * 2)
        boxes = torch.as_tensor(get_box_tensor(ground_truth.bboxes)).cpu() * factor
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.as_tensor(ground_truth.labels).cpu())
    return data['inputs'], [sample]


@torch.no_grad()
def record_batch(
    model: Any,
    inputs: Tensor,
    samples: Sequence[DetDataSample],
    queries: Iterable[int] | Callable[[Answers], Iterable[int]] | None = None,
    layers: Iterable[int] | None = None,
    cells: Iterable[tuple[float, float]] = (),
) -> list[Recording]:
    """The same for a batch that is prepared: (B, 3, H, W) and the samples of its images.

    Samples with ``gt_instances`` (boxes x1 y1 x2 y2 in pixels of the batch) are matched.
    """
    kept = list(places(model))
    cells, wanted = list(cells), None if layers is None else sorted(set(layers))
    for point in cells:
        _check_point(point)
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(model))
        heard = stack.enter_context(listening(model))
        known = len(layers_of(model.decoder))
        if known:  # before the forward pass, where the decoder says
            _check_range('layer', 'layers', wanted or (), known)
        heard_of_position = stack.enter_context(formulas.listening(model))
        calls = [
            (place, stack.enter_context(tapped(place.module, place.method)))
            for place in kept
            if _is_wanted(place, wanted, cells)
        ]
        predicted = model(inputs, list(samples), mode='predict')
    run = run_of(model, heard, inputs)
    total = run.logits.size(0)
    wanted = list(range(total)) if wanted is None else wanted
    _check_range('layer', 'layers', wanted, total)
    read = [(place, _read(place, heard_calls, len(samples))) for place, heard_calls in calls if heard_calls]
    return [
        _recording(model, run, heard_of_position, read, image, sample, queries, wanted, cells)
        for image, sample in enumerate(predicted)
    ]


def _read(place: Place, calls: Sequence[Call], batch: int) -> Sequence[Dot | Points]:
    """What an attention did for a batch: in its last call, or in several of fewer images each.

    The encoder of an optimised detector takes a large batch in pieces.
    """
    last = place.reader(place.module, calls[-1])
    return [last] if len(last.output) == batch else [place.reader(place.module, call) for call in calls]


def _piece(read: Sequence[Dot | Points], image: int) -> tuple[Dot | Points, int]:
    """The piece of a batch that holds an image, and its number there."""
    for piece in read:
        if image < len(piece.output):
            break
        image -= len(piece.output)
    return piece, image


def _is_wanted(place: Place, layers: Sequence[int] | None, cells: Sequence[Any]) -> bool:
    return bool(cells) if place.role == 'encoder' else layers is None or place.layer in layers


def _recording(
    model: Any,
    run: Run,
    heard: Mapping[str, list[Call]],
    read: Sequence[tuple[Place, Sequence[Dot | Points]]],
    image: int,
    sample: DetDataSample,
    queries: Iterable[int] | Callable[[Answers], Iterable[int]] | None,
    layers: Sequence[int],
    cells: Sequence[tuple[float, float]],
) -> Recording:
    answers = run.answers(image)
    total = answers.boxes.size(1)
    truth, matched = None, None
    if 'gt_instances' in sample:
        boxes = in_parts_of_image(get_box_tensor(sample.gt_instances.bboxes), sample.img_shape)
        truth = GroundTruth(boxes.float().cpu(), sample.gt_instances.labels.cpu())
        matched = run.match(image, truth, sample.img_shape)
    answers = answers.with_matches(truth, matched)
    chosen = queries(answers) if callable(queries) else range(total) if queries is None else queries
    rows = torch.tensor(list(dict.fromkeys(int(query) for query in chosen)), dtype=torch.long)
    _check_range('query', 'queries', rows.tolist(), total)
    ratios = run.valid_ratios[image]
    of_cells = torch.tensor([cell_at(point, run.shapes, ratios) for point in cells], dtype=torch.long)
    found: dict[str, dict[int, Attention]] = dict(encoder={}, self={}, cross={})
    for place, pieces in read:
        attention, number = _piece(pieces, image)
        chosen_rows = (of_cells if place.role == 'encoder' else rows).to(attention.output.device)
        found[place.role][place.layer] = attention.read(number, chosen_rows, ratios.to(chosen_rows.device))
    padding = None if run.padding is None else run.padding[image].cpu()
    formula = formulas.formula_of(model, heard, image, rows, found['cross'], answers.anchors, run.shapes, padding)
    return Recording(
        queries=rows,
        layers=tuple(layers),
        anchors=answers.anchors,
        anchors_after=answers.anchors_after,
        references=answers.references,
        boxes=answers.boxes,
        scores=answers.scores,
        matched=matched,
        ground_truth=truth,
        cross=found['cross'],
        self_attention=found['self'],
        encoder=found['encoder'],
        cells=of_cells,
        shapes=run.shapes,
        padding=padding,
        valid_ratios=ratios.cpu(),
        img_shape=tuple(sample.img_shape[:2]),
        ori_shape=tuple(sample.metainfo.get('ori_shape', sample.img_shape)[:2]),
        predictions=sample.pred_instances.cpu(),
        formula=formula,
    )


def _check_point(point: tuple[float, float]) -> None:
    if not all(0 <= value <= 1 for value in point):
        raise UserError(f'the point ({point[0]:g}, {point[1]:g}) is outside of the image: give x and y in 0 to 1')


def _check_range(noun: str, nouns: str, numbers: Sequence[int], total: int) -> None:
    wrong = [number for number in numbers if not 0 <= number < total]
    if wrong:
        raise UserError(f'{noun} {listed(wrong)}: the model has {total:,} {nouns}: give 0 to {total - 1:,}')


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a block, and every module back into its own after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
