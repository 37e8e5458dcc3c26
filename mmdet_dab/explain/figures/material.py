"""What figures are drawn from: detectors, and images with or without ground truth."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import InstanceData

from mmdet_dab.data.report import printable
from mmdet_dab.errors import DataError, UserError
from mmdet_dab.explain.attentions import layers_of
from mmdet_dab.explain.figures.position import Look, look
from mmdet_dab.explain.ground_truth import read_objects
from mmdet_dab.explain.recording import load_batch
from mmdet_dab.models.compatibility import contract_of
from mmdet_dab.models.positional_encoder import SinePositionalEncoder
from mmdet_dab.models.query_generator import learned_anchors

#: Names of the three detectors that the paper compares, by the coordinates of their anchors.
KINDS = {0: 'DETR', 2: 'Conditional DETR', 4: 'DAB-DETR'}


@dataclass(frozen=True)
class Subject:
    """A detector that is drawn.

    Attributes:
        name: what the figures call it.
        model: as :func:`mmdet_dab.config.build` gives it.
        trained: it has the weights of a checkpoint.
    """

    name: str
    model: Any
    trained: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, by label."""
        return tuple(self.model.dataset_meta.get('classes') or ())

    @property
    def kind(self) -> str:
        """Which of the three detectors of the paper it is like, by its queries."""
        anchors = learned_anchors(self.model)
        if anchors is not None:
            return KINDS[anchors.size(-1)]
        # Anchors that the encoder gives are not learned.
        position = contract_of(getattr(self.model.decoder, 'positional_query', None))
        return KINDS[position.anchor_dims if isinstance(position.anchor_dims, int) else 0]


@dataclass(frozen=True)
class Example:
    """An image.

    Attributes:
        name: of its file.
        source: the file, or (H, W, 3) uint8 BGR.
        ground_truth: ``bboxes`` (T, 4) x1 y1 x2 y2 in pixels, ``labels`` (T,); or None.
    """

    name: str
    source: str | np.ndarray
    ground_truth: InstanceData | None = None

    @cached_property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB."""
        image = mmcv.imread(self.source) if isinstance(self.source, str) else self.source
        if image is None:
            raise DataError(f'{self.name} cannot be read as an image: leave it out')
        return np.ascontiguousarray(image[..., ::-1])

    def looked_at_by(self, model: Any) -> Look:
        """A forward pass of a detector over this image."""
        return look(model, *load_batch(model, self.source))


class Material:
    """Everything that figures may ask for.

    Args:
        subjects: the detectors; the first is the one whose figures are drawn, others stand beside.
        encoder: the positional encoder for maps from the formula.
        examples: images, read as they are needed.
        layer: decoder layer of the maps, from 0; negative ones count from the last.
        threshold: lowest score of a detection.
        limit: images that are judged for the worst cases.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        encoder: SinePositionalEncoder,
        examples: Iterator[Example],
        layer: int = -1,
        threshold: float = 0.3,
        limit: int = 200,
    ) -> None:
        self.subjects, self.encoder = subjects, encoder
        self.layer, self.threshold, self.limit = layer, threshold, limit
        self._examples = examples
        self._read: list[Example] = []

    @property
    def code(self) -> SinePositionalEncoder:
        """The encoding of the paper, one for boxes and cells, with the temperature of the config."""
        return code_with(self.encoder, self.encoder.temperature)

    @property
    def trained(self) -> list[Subject]:
        """The detectors with weights."""
        return [subject for subject in self.subjects if subject.trained]

    def examples(self, number: int) -> list[Example]:
        """The first images, as many as there are."""
        while len(self._read) < number:
            example = next(self._examples, None)
            if example is None:
                break
            self._read.append(example)
        if not self._read:
            raise DataError('there is no image to draw: name some with --images')
        return self._read[:number]

    def layer_of(self, model: Any) -> int:
        """The decoder layer of the maps, from 0.

        Raises:
            UserError: the detector has no such layer.
        """
        total = len(layers_of(model.decoder))
        if not -total <= self.layer < total:
            raise UserError(f'--layer {self.layer + 1}: the decoder has {total} layers: give 1 to {total}')
        return self.layer % total


def highest(examples: Sequence[Example]) -> float:
    """Height to width of the image that is highest for its width."""
    return max(example.pixels.shape[0] / example.pixels.shape[1] for example in examples)


def code_with(encoder: SinePositionalEncoder, temperature: float) -> SinePositionalEncoder:
    """The same encoding with one temperature for boxes and cells."""
    width = 2 * encoder.num_feats
    return SinePositionalEncoder(width, temperature, scale=encoder.scale, offset=encoder.offset)


def examples_of_files(images: Sequence[str], annotations: Path | None, classes: Sequence[str]) -> Iterator[Example]:
    """Images of files.

    Args:
        images: files.
        annotations: of the files, in COCO's format; None: they have no ground truth.
        classes: of the detector, by label.

    Raises:
        DataError: the annotations cannot be read, do not list an image, or have other classes.
    """
    objects = {} if annotations is None else read_objects(annotations, list(images))
    return iter(
        [
            Example(
                printable(Path(file).name),
                file,
                None if annotations is None else objects[file].instances(tuple(classes), annotations),
            )
            for file in images
        ]
    )


def examples_of_dataset(cfg: Config) -> Iterator[Example]:
    """Images of the test dataset of a config.

    Raises:
        DataError: it has none, or an empty one.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    found = (cfg.get('test_dataloader') or {}).get('dataset')
    if found is None:
        raise DataError(f'config {cfg.filename} has no test_dataloader: name images with --images')
    dataset: Any = DATASETS.build(copy.deepcopy(found))
    while not hasattr(dataset, 'get_data_info'):
        dataset = dataset.dataset  # a wrapper
    if not len(dataset):
        raise DataError(f'config {cfg.filename}: the test dataset has no image: name some with --images')
    return _of_dataset(dataset)


def _of_dataset(dataset: Any) -> Iterator[Example]:
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        objects = [entry for entry in info.get('instances', ()) if not entry.get('ignore_flag', 0)]
        boxes = torch.tensor([entry['bbox'] for entry in objects], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([entry['bbox_label'] for entry in objects], dtype=torch.long)
        name = Path(str(info.get('img_path') or f'image {info.get("img_id", index)}')).name
        yield Example(printable(name), info.get('img', info.get('img_path')), InstanceData(bboxes=boxes, labels=labels))
