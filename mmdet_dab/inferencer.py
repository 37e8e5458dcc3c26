"""mmdet's DetInferencer for files: names beside labels in its JSON, no alarming warnings."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmdet_dab.checkpoints import match_weights

#: What mmengine and mmdet warn of where nothing is wrong.
HARMLESS = (
    'Failed to search registry',  # mmdet has no registry of functions, and needs none
    'Failed to add',  # a visualizer without a folder: it is named with each image
    '`Visualizer` backend is not initialized',
    'The current default scope',
    # Boxes that reach beyond an image are drawn as far as they are in it
    'Warning: The bbox is out of bounds',
    'Warning: The polygon is out of bounds',
)


#: An image whose shorter side is much smaller, in pixels, is drawn enlarged.
SHORTEST_SIDE = 320


class FileInferencer(DetInferencer):
    """Predicts images from files and writes what it found.

    Args:
        cfg: config of the detector.
        checkpoint: its weights.
        device: such as ``'cpu'``; None takes a GPU where there is one.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str | None = None) -> None:
        with quiet():
            super().__init__(cfg, checkpoint, device=device, show_progress=False)
        self.shared_stems: set[str] = set()

    def write(
        self, images: Sequence[str], folder: Path, batch_size: int = 1, score_threshold: float = 0.3
    ) -> Iterator[int]:
        """Write images with boxes into ``folder/vis`` and boxes as JSON into ``folder/preds``.

        The JSON of ``a.png`` is ``a.json``, or ``a.png.json`` where there is an ``a.jpg`` too.

        Args:
            images: files.
            folder: created if need be.
            batch_size: images in one forward pass.
            score_threshold: lowest score that is drawn; the JSON has all boxes.

        Yields:
            how many images are done, after each batch.
        """
        counts = Counter(Path(image).stem for image in images)
        self.shared_stems = {stem for stem, count in counts.items() if count > 1}
        for start in range(0, len(images), batch_size):
            batch = list(images[start : start + batch_size])
            with quiet():
                self(
                    batch,
                    batch_size=batch_size,
                    pred_score_thr=score_threshold,
                    out_dir=str(folder),
                    no_save_pred=False,
                )
            yield start + len(batch)

    def _load_weights_to_model(self, model: nn.Module, checkpoint: dict[str, Any] | None, cfg: Any) -> None:
        """As mmdet does, but weights of another model are refused, and wrapped ones found."""
        if checkpoint is not None:
            checkpoint = {**checkpoint, 'state_dict': match_weights(model, checkpoint, whole=True)}
        super()._load_weights_to_model(model, checkpoint, cfg)

    def visualize(
        self,
        inputs: Sequence[str],
        preds: Sequence[DetDataSample],
        pred_score_thr: float = 0.3,
        img_out_dir: str = '',
        **unused: Any,
    ) -> None:
        """Write each image with its boxes.

        A small image is enlarged, so that the labels leave some of it to see.
        """
        for path, sample in zip(inputs, preds, strict=True):
            image = mmcv.imread(path, channel_order='rgb')
            factor = max(1, round(SHORTEST_SIDE / min(image.shape[:2])))
            drawn = DetDataSample(pred_instances=copy.deepcopy(sample.pred_instances))
            drawn.pred_instances.bboxes = drawn.pred_instances.bboxes * factor
            name = Path(path).name
            self.visualizer.add_datasample(
                name,
                mmcv.imrescale(image, float(factor), interpolation='bicubic'),
                drawn,
                draw_gt=False,
                pred_score_thr=pred_score_thr,
                out_file=str(Path(img_out_dir, 'vis', name)),
            )

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = '') -> dict[str, Any]:
        """Labels with their names, scores, and boxes x1 y1 x2 y2 in pixels of the file."""
        result = super().pred2dict(data_sample)
        classes = self.model.dataset_meta['classes']
        result = {'names': [classes[label] for label in result['labels']], **result}
        if pred_out_dir:
            image = Path(data_sample.img_path)
            name = image.name if image.stem in self.shared_stems else image.stem
            file = Path(pred_out_dir, 'preds', f'{name}.json')
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(result), encoding='utf-8')
        return result


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
