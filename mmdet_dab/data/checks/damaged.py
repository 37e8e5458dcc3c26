"""Which image ended a training run or a test, where the loader does not say it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdet_dab.data.images import read_header
from mmdet_dab.errors import DataError, TrainingError, UserError


@contextlib.contextmanager
def damaged_images_named(runner: Any) -> Iterator[None]:
    """Turn an error while images are loaded into one that names the image.

    Args:
        runner: whose loops run inside; its datasets are searched after an error only.

    Raises:
        DataError: an image of the datasets cannot be opened. Any other error stays as it is.
    """
    try:
        yield
    except (UserError, TrainingError):
        raise
    except Exception as error:
        for path in _image_paths(runner):
            problem = read_header(path).problem
            if problem:
                fix = 'Copy it again, or take it out of the annotations with `mmdet-dab new-data --leave-out-faulty`'
                raise DataError(f'{path} {problem}: loading the images ended there. {fix}') from error
        raise


def _image_paths(runner: Any) -> Iterator[Path]:
    """The images of all loops that were built."""
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        loader = getattr(loop, 'dataloader', None)
        if loader is not None:
            yield from _paths_of(loader.dataset)


def _paths_of(dataset: Any) -> Iterator[Path]:
    for part in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if part is not None:
            yield from _paths_of(part)
            return
    if hasattr(dataset, 'get_data_info'):
        for index in range(len(dataset)):
            path = dataset.get_data_info(index).get('img_path')
            if isinstance(path, str):
                yield Path(path)
