"""Pictures and their boxes in memory, in the words of COCO, whatever format they were read from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_dab.errors import DataError


@dataclass(frozen=True)
class Annotations:
    """One split of a data set.

    Attributes:
        source: the file or folder that it was read from.
        images: COCO's: ``id``, ``file_name`` relative to the folder of pictures, ``width``, ``height``.
        objects: COCO's annotations: ``id``, ``image_id``, ``category_id``, ``bbox`` (x y w h in pixels), ``area``,
            ``iscrowd``.
        categories: COCO's: ``id``, ``name``; label i of a training is the i-th of them that the config names.
        places: where each object stands in the source, such as ``cell.xml, object 3``; None: its id says it.
        filled: what was converted or filled in, in words; if anything was, it must be written to be used.
    """

    source: Path
    images: list[dict[str, Any]]
    objects: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    places: Sequence[str] | None = None
    filled: list[str] = field(default_factory=list)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64, x y w h in pixels; rows of objects without four numbers are refused.

        Raises:
            DataError: names the first object whose ``bbox`` is not four numbers.
        """
        try:
            boxes = np.array([item['bbox'] for item in self.objects], dtype=np.float64).reshape(-1, 4)
        except (TypeError, ValueError):
            boxes = np.empty((0, 4))
        if len(boxes) != len(self.objects):
            wrong = next(index for index, item in enumerate(self.objects) if not _is_box(item['bbox']))
            raise DataError(
                f'{self.source}: bbox of {self.place(wrong)} is {self.objects[wrong]["bbox"]!r}: four numbers '
                'x, y, w, h in pixels are needed'
            )
        return boxes

    @cached_property
    def image_index(self) -> np.ndarray:
        """(N,) int: row in ``images`` of each object's picture, −1 for a picture that is not listed."""
        rows = {image['id']: row for row, image in enumerate(self.images)}
        return np.array([rows.get(item['image_id'], -1) for item in self.objects], dtype=np.int64)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(I, 2) float64, width and height of the pictures."""
        return np.array([(image['width'], image['height']) for image in self.images], dtype=np.float64).reshape(-1, 2)

    @cached_property
    def counted(self) -> np.ndarray:
        """(N,) bool: objects that are to be found; crowds are neither trained on nor missed."""
        return np.array([not item.get('iscrowd') and not item.get('ignore') for item in self.objects], dtype=bool)

    def names(self) -> list[str]:
        """Names of the categories, in the order of the source."""
        return [category['name'] for category in self.categories]

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """(N,) int: place of each object's class in ``classes``, −1 for another class."""
        places = {name: place for place, name in enumerate(classes)}
        label = {category['id']: places.get(category['name'], -1) for category in self.categories}
        return np.array([label.get(item['category_id'], -1) for item in self.objects], dtype=np.int64)

    def place(self, index: int) -> str:
        """Where an object stands: the words for messages."""
        if self.places is not None:
            return self.places[index]
        row = self.image_index[index]
        return f'annotation {self.objects[index].get("id")!r}' + (
            f' of {self.images[row]["file_name"]}' if row >= 0 else ''
        )

    def select(self, rows: Collection[int], objects: Collection[int] | None = None) -> Annotations:
        """The same with some of the pictures, and some of the objects on them.

        Args:
            rows: indices into ``images``.
            objects: indices into ``objects``; None: all.
        """
        images = [self.images[row] for row in sorted(set(rows))]
        wanted = {image['id'] for image in images}
        chosen = range(len(self.objects)) if objects is None else sorted(set(objects))
        kept = [index for index in chosen if self.objects[index]['image_id'] in wanted]
        places = None if self.places is None else [self.places[index] for index in kept]
        return replace(self, images=images, objects=[self.objects[index] for index in kept], places=places)

    def with_categories(self, names: Sequence[str]) -> Annotations:
        """The same with categories ``names``, numbered from 1; every name in use must be among them."""
        ids = {name: number for number, name in enumerate(names, start=1)}
        new = {category['id']: ids[category['name']] for category in self.categories if category['name'] in ids}
        objects = [dict(item, category_id=new[item['category_id']]) for item in self.objects]
        return replace(self, objects=objects, categories=[dict(id=ids[name], name=name) for name in names])

    def write(self, path: Path) -> None:
        """Write a COCO annotation file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = dict(images=self.images, annotations=self.objects, categories=self.categories)
        path.write_text(json.dumps(content), encoding='utf-8')


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(part, (int, float)) for part in value)
