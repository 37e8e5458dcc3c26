"""mmdet's DetInferencer as a detector of images in memory, without its alarming warnings."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from mmdet.apis import DetInferencer
from mmdet.visualization import get_palette
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmdet_dab.checkpoints import match_weights
from mmdet_dab.config import class_names, class_rows
from mmdet_dab.data.checks.damaged import NO_SIZE
from mmdet_dab.deploy.detections import Detections
from mmdet_dab.deploy.preprocessing import as_image
from mmdet_dab.engine.trust import named
from mmdet_dab.errors import DataError, listed

#: What mmengine and mmdet warn of where nothing is wrong.
HARMLESS = (
    'Failed to search registry',  # mmdet has no registry of functions, and needs none
    'Failed to add',  # a visualizer without a folder: it is named with each image
    '`Visualizer` backend is not initialized',
    'The current default scope',
)


class FileInferencer(DetInferencer):
    """A checkpoint as a detector of images.

    Args:
        cfg: config of the detector.
        checkpoint: its weights.
        device: such as ``'cpu'``; None takes a GPU where there is one.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str | None = None) -> None:
        self._source = checkpoint
        with quiet():
            super().__init__(cfg, checkpoint, device=device, show_progress=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, by label."""
        return tuple(self.model.dataset_meta['classes'])

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """(r, g, b) in 0..255 of each class."""
        palette = self.model.dataset_meta['palette']
        colours = palette if isinstance(palette, str) else list(palette)
        return [(int(red), int(green), int(blue)) for red, green, blue in get_palette(colours, len(self.classes))]

    def batch(self, images: Sequence[np.ndarray], threshold: float | None = None) -> list[Detections]:
        """Detect in images as one batch.

        Args:
            images: (H, W, 3) uint8 BGR, or (H, W) grey.
            threshold: score from which on a prediction is kept; None: all.

        Returns:
            boxes in pixels of each image, best first.

        Raises:
            DataError: an image is no such array, or too narrow for the size that it is resized to.
        """
        arrays = [as_image(image) for image in images]
        with quiet():
            try:
                batches = list(self.preprocess(arrays, batch_size=len(arrays)))
            except cv2.error as error:
                sizes = listed(f'{array.shape[1]} × {array.shape[0]}' for array in arrays)
                raise DataError(f'{sizes} pixels {NO_SIZE}') from error
            samples = [sample for _, data in batches for sample in self.forward(data)]
        return [self._detections(sample.pred_instances).above(threshold or 0) for sample in samples]

    def _detections(self, found: InstanceData) -> Detections:
        found = found[found.scores.argsort(descending=True, stable=True)].cpu().numpy()
        names = tuple(self.classes[label] for label in found.labels)
        return Detections(found.bboxes, found.scores, found.labels, names)

    def _load_weights_to_model(self, model: Any, checkpoint: dict[str, Any] | None, cfg: Any) -> None:
        """As mmdet does, but weights of another model are refused, wrapped ones found, and names
        are those of as many classes as the detector has.
        """
        stored: dict[str, Any] = {}
        if checkpoint is not None:
            with named(self._source):
                checkpoint = {**checkpoint, 'state_dict': match_weights(model, checkpoint, whole=True)}
            stored = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        super()._load_weights_to_model(model, checkpoint, cfg)
        with named(self._source):
            # mmdet 3.0 wrote CLASSES
            lower = {key.lower(): value for key, value in stored.items()}
            model.dataset_meta = class_names(cfg, lower, class_rows(model))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings that begin like one of :data:`HARMLESS`."""

    def is_needed(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(HARMLESS)

    logger = MMLogger.get_current_instance()
    logger.addFilter(is_needed)
    try:
        with warnings.catch_warnings():
            for text in HARMLESS:
                warnings.filterwarnings('ignore', message=re.escape(text))
            yield
    finally:
        logger.removeFilter(is_needed)
