"""mmdet's DetInferencer for files: names beside labels in its JSON, batches one at a time, no alarming warnings."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config

#: What mmengine and mmdet warn of where nothing is wrong.
HARMLESS = (
    'Failed to add',  # a visualizer without a folder: the folder is given with each image
    '`Visualizer` backend is not initialized',
    'The current default scope',
)


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

    def write(
        self, images: Sequence[str], folder: Path, batch_size: int = 1, score_threshold: float = 0.3
    ) -> Iterator[int]:
        """Write images with boxes into ``folder/vis`` and boxes as JSON into ``folder/preds``.

        Args:
            images: files.
            folder: created if need be.
            batch_size: images in one forward pass.
            score_threshold: lowest score that is drawn; the JSON has all boxes.

        Yields:
            how many images are done, after each batch.
        """
        for start in range(0, len(images), batch_size):
            batch = list(images[start : start + batch_size])
            self(batch, batch_size=batch_size, pred_score_thr=score_threshold, out_dir=str(folder), no_save_pred=False)
            yield start + len(batch)

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = '') -> dict[str, Any]:
        """Labels with their names, scores, and boxes x1 y1 x2 y2 in pixels of the file."""
        result = super().pred2dict(data_sample)
        classes = self.model.dataset_meta['classes']
        result = {'names': [classes[label] for label in result['labels']], **result}
        if pred_out_dir:
            file = Path(pred_out_dir, 'preds', Path(data_sample.img_path).stem + '.json')
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(result), encoding='utf-8')
        return result


class quiet:  # noqa: N801  (a context manager)
    """Leaves out the warnings that begin like one of :data:`HARMLESS`."""

    def __enter__(self) -> None:
        self.catcher = warnings.catch_warnings()
        self.catcher.__enter__()
        for text in HARMLESS:
            warnings.filterwarnings('ignore', message=text)
        logging.getLogger().addFilter(lambda record: True)

    def __exit__(self, *error: object) -> None:
        self.catcher.__exit__(*error)  # type: ignore[arg-type]
