"""The images that quantization is calibrated on, and the metric that it is measured by."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Subset

from mmdet_dab.data.checks.damaged import damaged_images_named
from mmdet_dab.deploy.exported_detector import ExportedDetector
from mmdet_dab.errors import ConfigError
from mmdet_dab.registry import DATASETS

Inputs = dict[str, np.ndarray]
#: Of more validation images so many are taken, evenly spaced: the choice is between files, so that
#: all of them see the same ones.
MOST_IMAGES = 500


def dataset_as_tested(dataset: dict[str, Any], pipeline: list[dict[str, Any]]) -> dict[str, Any]:
    """The config of a training dataset whose images go through another pipeline, without what
    repeats, mixes or leaves out images.

    Args:
        dataset: config.
        pipeline: config.
    """
    if 'datasets' in dataset:
        return {**dataset, 'datasets': [dataset_as_tested(each, pipeline) for each in dataset['datasets']]}
    if 'dataset' in dataset:
        return dataset_as_tested(dataset['dataset'], pipeline)
    return {**dataset, 'pipeline': pipeline, 'test_mode': True}


class CalibrationImages:
    """Training images as the exported file takes them, one by one.

    They go through the test pipeline, so that nothing is augmented.

    Args:
        config: with ``train_dataloader`` and ``test_dataloader``.
        detector: the exported file, which says whether it normalises.
        number: of images, evenly spaced over the dataset.

    Raises:
        ConfigError: the config has no training images.
    """

    def __init__(self, config: Config, detector: ExportedDetector, number: int) -> None:
        if config.get('train_dataloader') is None:
            raise ConfigError(f'{config.filename}: no train_dataloader, whose images int8 is calibrated on.')
        pipeline = config.test_dataloader.dataset.pipeline
        with _quiet():
            every = DATASETS.build(copy.deepcopy(dataset_as_tested(config.train_dataloader.dataset, pipeline)))
        self.images = _spread(every, number)
        self.detector = detector

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Inputs:
        """``images`` (1, 3, H, W) and ``valid_sizes`` (1, 2)."""
        with damaged_images_named([self.images]):
            item = self.images[index]
        batch = self.detector.data_preprocessor(
            dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), False
        )
        return self.detector.graph_inputs(batch['inputs'], batch['data_samples'])

    def __iter__(self) -> Iterator[Inputs]:
        return (self[index] for index in range(len(self)))


def _spread(dataset: Any, number: int) -> Subset:
    """So many items of a dataset, evenly spaced; all if it has fewer."""
    number = min(number, len(dataset))
    return Subset(dataset, np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist())


class Yardstick:
    """The first metric of a config's evaluator on its validation images; the greater the better.

    Args:
        config: with ``val_dataloader`` and ``val_evaluator``, or those of ``test``.

    Attributes:
        name: of the metric, such as ``coco/bbox_mAP``; after the first call.
        images: how many.
    """

    def __init__(self, config: Config) -> None:
        split = 'val' if config.get('val_dataloader') else 'test'
        self.config = config
        loader = copy.deepcopy(config[f'{split}_dataloader'])
        loader.update(num_workers=0, persistent_workers=False)
        with _quiet():
            dataset = DATASETS.build(loader.dataset)
        self.meta = dataset.metainfo
        self.partial = len(dataset) > MOST_IMAGES
        loader.dataset = _spread(dataset, MOST_IMAGES) if self.partial else dataset
        loader.sampler = dict(type='DefaultSampler', shuffle=False)
        self.images = len(loader.dataset)
        self.loader = Runner.build_dataloader(loader)
        self.evaluator_config = config[f'{split}_evaluator']
        self.name = ''

    def __call__(self, file: Path) -> float:
        """Measure an exported file."""
        return self.of(ExportedDetector(str(file), self.config.model.get('data_preprocessor') or {}))

    def of(self, detector: BaseModel) -> float:
        """Measure what predicts as a detector of mmdet does."""
        done = 0
        with torch.no_grad(), _quiet():
            evaluator = Evaluator(copy.deepcopy(self.evaluator_config))
            evaluator.dataset_meta = self.meta
            for batch in self.loader:
                evaluator.process(detector.test_step(batch), batch)
                done += len(batch['inputs'])
            if self.partial:
                _look_at_these_only(evaluator)
            values = evaluator.evaluate(done)
        self.name = next(iter(values))
        return float(values[self.name])


def _look_at_these_only(evaluator: Evaluator) -> None:
    """Images that were left out are no misses."""
    for metric in evaluator.metrics:
        if hasattr(metric, 'img_ids'):
            metric.img_ids = [prediction['img_id'] for _, prediction in metric.results]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what reading annotations and evaluating prints."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
