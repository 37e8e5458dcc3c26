"""An image that ends a training run is named, whatever the loader said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmdet_dab.data.checks.damaged import damaged_images_named, datasets_of
from mmdet_dab.errors import ConfigError, DataError
from tests.helpers.drawn import Drawn


class Images:
    """A dataset of files."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def get_data_info(self, index: int) -> dict[str, str]:
        return {'img_path': str(self.paths[index])}


def runner_of(*paths: Path) -> SimpleNamespace:
    """Whose training data are joined and repeated; it validates on nothing."""
    repeated = SimpleNamespace(dataset=SimpleNamespace(datasets=[Images([]), Images(list(paths))]))
    train = SimpleNamespace(dataloader=SimpleNamespace(dataset=repeated))
    return SimpleNamespace(_train_loop=train, _val_loop={'type': 'ValLoop'}, _test_loop=None)


@pytest.fixture
def paths(drawn: Drawn) -> list[Path]:
    return sorted(drawn.images.iterdir())


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', b'\x89PNG\r\n\x1a\n'])
def test_the_image_is_named(paths: list[Path], content: bytes):
    paths[3].write_bytes(content)
    with pytest.raises(DataError, match=paths[3].name), damaged_images_named(datasets_of(runner_of(*paths))):
        raise RuntimeError('Caught error in DataLoader worker process 0.')


def test_an_image_of_one_row_is_named_where_a_resize_fails(paths: list[Path]):
    cv2.imwrite(str(paths[3]), np.zeros((1, 3000, 3), np.uint8))
    with pytest.raises(DataError, match=paths[3].name), damaged_images_named(datasets_of(runner_of(*paths))):
        cv2.resize(np.zeros((1, 3000, 3), np.uint8), (64, 0))
    with pytest.raises(cv2.error), damaged_images_named(datasets_of(runner_of(*paths[:3]))):
        cv2.resize(np.zeros((1, 3000, 3), np.uint8), (64, 0))


def test_other_errors_stay_what_they_are(paths: list[Path]):
    with pytest.raises(ZeroDivisionError), damaged_images_named(datasets_of(runner_of(*paths))):
        raise ZeroDivisionError
    paths[3].write_bytes(b'')
    with pytest.raises(ConfigError), damaged_images_named(datasets_of(runner_of(*paths))):
        raise ConfigError('known already')
