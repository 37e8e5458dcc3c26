"""Images and their boxes in memory, in COCO's words, whatever format they were read from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Annotations:
    """One split of a dataset.

    Attributes:
        source: the file or folder that it was read from.
        images: COCO's: ``id``, ``file_name`` relative to the image folder, ``width``, ``height``.
        objects: COCO's annotations: ``id``, ``image_id``, ``category_id``, ``bbox`` (x y w h in
            pixels), ``area``, ``iscrowd``.
        categories: COCO's: ``id``, ``name``. Label i of a training run is the i-th of them that
            the config names.
        places: where each object stands in the source, such as ``cell.xml, object 3``; None: its
            id says it.
        changes: what was converted or filled in, in words. If anything was, the data must be
            written to be used.
        unsized: ids of the images whose size the source does not state.
    """

    source: Path
    images: list[dict[str, Any]]
    objects: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    places: Sequence[str] | None = None
    changes: Sequence[str] = ()
    unsized: Collection[Any] = field(default_factory=frozenset)

    @classmethod
    def numbered(
        cls,
        folder: Path,
        images: list[dict[str, Any]],
        found: Sequence[tuple[int, str, Mapping[str, Any], str]],
        names: Sequence[str],
        changes: Sequence[str],
        unsized: Collection[int],
    ) -> Annotations:
        """Number objects and classes from 1; classes that are not in ``names`` come behind them.

        Args:
            folder: where it was read.
            images: COCO's.
            found: of each object the image id, the class name, ``bbox`` and ``iscrowd``, the place.
            names: of the classes, in order.
            changes, unsized: see the class.
        """
        others = sorted({name for _, name, _, _ in found} - set(names))
        categories = [dict(id=number, name=name) for number, name in enumerate([*names, *others], start=1)]
        ids = {category['name']: category['id'] for category in categories}
        objects = [
            dict(box, id=number, image_id=image, category_id=ids[name], area=box['bbox'][2] * box['bbox'][3])
            for number, (image, name, box, _) in enumerate(found, start=1)
        ]
        return cls(folder, images, objects, categories, [place for *_, place in found], changes, unsized)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64, x y w h in pixels; NaN where ``bbox`` is not four numbers."""
        rows: list[Any] = [item.get('bbox') for item in self.objects]
        if not all(map(is_box, rows)):
            rows = [row if is_box(row) else (np.nan,) * 4 for row in rows]
        return np.fromiter(itertools.chain.from_iterable(rows), np.float64, 4 * len(rows)).reshape(-1, 4)

    @cached_property
    def image_index(self) -> np.ndarray:
        """(N,) int: row in ``images`` of each object's image, −1 for one that is not listed."""
        rows = {image['id']: row for row, image in enumerate(self.images)}
        return np.array([rows.get(item['image_id'], -1) for item in self.objects], dtype=np.int64)

    @cached_property
    def category_index(self) -> np.ndarray:
        """(N,) int: row in ``categories`` of each object's, −1 for one that is not listed."""
        rows = {category['id']: row for row, category in enumerate(self.categories)}
        return np.array([rows.get(item['category_id'], -1) for item in self.objects], dtype=np.int64)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(I, 2) float64, width and height of the images, pixels."""
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
        by_category = np.array([*(places.get(name, -1) for name in self.names()), -1], dtype=np.int64)
        return by_category[self.category_index]

    def objects_per_image(self, classes: Sequence[str] | None = None) -> np.ndarray:
        """(I,) int: objects to be found on each image, of ``classes`` or of all."""
        valid = self.counted & (self.image_index >= 0)
        if classes is not None:
            valid &= self.labels(classes) >= 0
        return np.bincount(self.image_index[valid], minlength=len(self.images))

    def place(self, index: int) -> str:
        """Where an object stands: the words for messages."""
        if self.places is not None:
            return self.places[index]
        row = self.image_index[index]
        return f'annotation {self.objects[index].get("id")!r}' + (
            f' of {self.images[row]["file_name"]}' if row >= 0 else ''
        )

    def image(self, row: int) -> str:
        """An image's name and id: the words for messages."""
        image = self.images[row]
        return f'{image["file_name"]} of id {image["id"]!r}'

    def select(self, rows: Collection[int], objects: Collection[int] | None = None) -> Annotations:
        """The same with some of the images, and some of the objects on them.

        Args:
            rows: indices into ``images``.
            objects: indices into ``objects``; None: all.
        """
        wanted_rows = np.zeros(len(self.images) + 1, dtype=bool)  # the last one: of no listed image
        wanted_rows[list(rows)] = True
        wanted = wanted_rows[self.image_index]
        if objects is not None:
            chosen = np.zeros(len(self.objects), dtype=bool)
            chosen[list(objects)] = True
            wanted &= chosen
        kept = np.flatnonzero(wanted).tolist()
        return replace(
            self,
            images=[self.images[row] for row in np.flatnonzero(wanted_rows[:-1]).tolist()],
            objects=[self.objects[index] for index in kept],
            places=None if self.places is None else [self.places[index] for index in kept],
        )

    def with_categories(self, names: Sequence[str]) -> Annotations:
        """The same with categories ``names``, numbered from 1; they include every name in use."""
        ids = {name: number for number, name in enumerate(names, start=1)}
        new = {category['id']: ids[category['name']] for category in self.categories if category['name'] in ids}
        objects = [dict(item, category_id=new[item['category_id']]) for item in self.objects]
        return replace(self, objects=objects, categories=[dict(id=ids[name], name=name) for name in names])

    def write(self, path: Path) -> None:
        """Write a COCO annotation file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = dict(images=self.images, annotations=self.objects, categories=self.categories)
        path.write_text(json.dumps(content), encoding='utf-8')


def is_box(value: Any) -> bool:
    """Whether it is four numbers, finite or not."""
    if (type(value) is not list and type(value) is not tuple) or len(value) != 4:
        return False
    x, y, w, h = map(type, value)
    if x is y is w is h is float:  # most are
        return True
    return all(type(one) is float or (type(one) is int and abs(one) < 2**63) for one in value)
