"""Which image ended a training run or a test, where the loader does not say it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2

from mmdet_dab.data.images import Header, read_header
from mmdet_dab.errors import DataError, TrainingError, UserError

#: What is wrong with an image of a row of pixels.
NO_SIZE = 'cannot be resized as the config asks: nothing would be left of the short side. Crop it, or leave it out'
#: Sides so different that it happens; more is left of others at any size that detectors use.
NARROW = 50


@contextlib.contextmanager
def damaged_images_named(datasets: Iterable[Any]) -> Iterator[None]:
    """Turn an error while images are loaded into one that names the image.

    Args:
        datasets: that are loaded inside; they are searched after an error only.

    Raises:
        DataError: an image of the datasets cannot be opened, or is too narrow to be resized. Any
            other error stays as it is.
    """
    try:
        yield
    except (UserError, TrainingError):
        raise
    except Exception as error:
        for dataset in datasets:
            for path in _paths_of(dataset):
                header = read_header(path)
                if header.problem:
                    fix = 'Copy it again, or take it out with `mmdet-dab new-data --leave-out-faulty`'
                    raise DataError(f'{path} {header.problem}: loading the images ended there. {fix}') from error
                if isinstance(error, cv2.error) and _is_narrow(header):
                    raise DataError(f'{path}: {header.width} × {header.height} pixels {NO_SIZE}') from error
        raise


def _is_narrow(header: Header) -> bool:
    return max(header.stored_size) >= NARROW * min(header.stored_size)


def datasets_of(runner: Any) -> Iterator[Any]:
    """The datasets of all loops of a Runner that are built by the time they are asked for."""
    for name in ('_train_loop', '_val_loop', '_test_loop'):
        loader = getattr(getattr(runner, name), 'dataloader', None)
        if loader is not None:
            yield loader.dataset


def _paths_of(dataset: Any) -> Iterator[Path]:
    """The images of a dataset that may be wrapped or joined."""
    inside = list(getattr(dataset, 'datasets', None) or ())
    if not inside and getattr(dataset, 'dataset', None) is not None:
        inside = [dataset.dataset]
    for part in inside:
        yield from _paths_of(part)
    if not inside and hasattr(dataset, 'get_data_info'):
        for index in range(len(dataset)):
            path = dataset.get_data_info(index).get('img_path')
            if isinstance(path, str):
                yield Path(path)
