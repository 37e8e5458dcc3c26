"""The objects of an image, from an annotation file in COCO's format, by the name of the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.coco import read_coco
from mmdet_dab.errors import DataError, listed


@dataclass(frozen=True)
class Objects:
    """The objects of one image that are to be found.

    Attributes:
        boxes: (T, 4) float64, x1 y1 x2 y2 in pixels of the image.
        names: of their classes.
    """

    boxes: np.ndarray
    names: tuple[str, ...]

    def instances(self, classes: tuple[str, ...], source: Path) -> InstanceData:
        """The same with the labels of a model.

        Raises:
            DataError: the model has not one of the names.
        """
        unknown = sorted(set(self.names) - set(classes))
        if unknown:
            raise DataError(
                f'{source}: {listed(map(repr, unknown))} is no class of the model ({listed(classes)}): give the '
                'annotations of the dataset that it was trained on'
            )
        labels = [classes.index(name) for name in self.names]
        boxes = torch.from_numpy(self.boxes).float().reshape(-1, 4)
        return InstanceData(bboxes=boxes, labels=torch.tensor(labels, dtype=torch.long))


def read_objects(source: Path, images: list[str]) -> dict[str, Objects]:
    """The objects of some images.

    Args:
        source: COCO's annotation file.
        images: files; they are found by name, with as much of the folder as makes it unique.

    Raises:
        DataError: an image is not listed, or cannot be told from another.
    """
    data = read_coco(source)
    by_name: dict[str, list[int]] = {}
    for row, image in enumerate(data.images):
        by_name.setdefault(Path(str(image['file_name'])).name, []).append(row)
    return {image: _objects(data, _row(data, by_name, image)) for image in images}


def _row(data: Annotations, by_name: dict[str, list[int]], image: str) -> int:
    path = Path(image).resolve()
    rows = by_name.get(path.name, [])
    whole = [row for row in rows if str(path).endswith(f'/{Path(str(data.images[row]["file_name"])).as_posix()}')]
    if len(rows) == 1 or len(whole) == 1:
        return rows[0] if len(rows) == 1 else whole[0]
    if rows:
        raise DataError(f'{data.source}: {len(rows)} images are called {path.name}: give the file in its folder')
    examples = listed((item['file_name'] for item in data.images), at_most=3)
    raise DataError(
        f'{data.source} does not list {path.name}; it lists {examples}: give the annotations of this image, or leave '
        '--annotations out'
    )


def _objects(data: Annotations, row: int) -> Objects:
    wanted = np.flatnonzero((data.image_index == row) & data.counted & (data.category_index >= 0))
    corners = data.boxes[wanted].reshape(-1, 4).copy()
    corners[:, 2:] += corners[:, :2]
    names: list[Any] = data.names()
    return Objects(corners, tuple(names[data.category_index[index]] for index in wanted))
