"""A small dataset of drawn images, in each of the three formats, to be broken in one place by a test."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.new_dataset import Request, make
from mmdet_dab.errors import DataError
from tests.helpers.paths import CONFIGS

WIDTH, HEIGHT = 64, 48
#: Boxes of every image, x y w h; class 1 is 'square', class 2 'bar'.
BOXES = ((4, 6, 16, 16, 1), (30, 20, 28, 8, 2))


@dataclass(frozen=True)
class Drawn:
    """Folder with ``images/`` and the content of an annotation file."""

    folder: Path
    content: dict[str, Any]

    @property
    def images(self) -> Path:
        return self.folder / 'images'

    def coco(self, name: str = 'all.json', change: Callable[[dict[str, Any]], Any] | None = None) -> Path:
        """Write the annotation file, after a change to its content."""
        content = copy.deepcopy(self.content)
        if change is not None:
            change(content)
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path

    def part(self, name: str, start: int, stop: int, change: Callable[[dict[str, Any]], Any] | None = None) -> Path:
        """The same with some of the images."""

        def cut(content: dict[str, Any]) -> None:
            content['images'] = content['images'][start:stop]
            ids = {image['id'] for image in content['images']}
            content['annotations'] = [item for item in content['annotations'] if item['image_id'] in ids]
            if change is not None:
                change(content)

        return self.coco(name, cut)

    def request(self, annotations: Path, **options: Any) -> Request:
        """As the tool makes it, from random weights unless another start is asked for."""
        return Request(
            **{
                'images': self.images,
                'annotations': annotations,
                'out': self.folder / 'mine' / 'cells.py',
                'configs': CONFIGS,
                'start': 'scratch',
                **options,
            }
        )


def draw(folder: Path, number: int = 8, suffix: str = '.png') -> Drawn:
    """Draw images that differ, two objects on each."""
    (folder / 'images').mkdir(parents=True)
    images, annotations = [], []
    for index in range(number):
        image = np.full((HEIGHT, WIDTH, 3), 20 + 160 * index // number, np.uint8)
        for x, y, w, h, category in BOXES:
            cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), (0, 90 * category, 255), -1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=category,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
        cv2.imwrite(str(folder / 'images' / f'{index}{suffix}'), image)
        images.append(dict(id=index + 1, file_name=f'{index}{suffix}', width=WIDTH, height=HEIGHT))
    categories = [dict(id=1, name='square'), dict(id=2, name='bar')]
    return Drawn(folder, dict(images=images, annotations=annotations, categories=categories))


VOC = """<annotation><filename>{name}</filename>{size}
<object><name>{first}</name><difficult>{difficult}</difficult>
<bndbox><xmin>4</xmin><ymin>6</ymin><xmax>20</xmax><ymax>22</ymax></bndbox></object>
<object><name>bar</name><bndbox><xmin>30.0</xmin><ymin>20.5</ymin><xmax>58.0</xmax><ymax>28.5</ymax></bndbox></object>
</annotation>"""
SIZE = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>'


def voc(drawn: Drawn, name: str = 'xml files', **fields: str) -> Path:
    """A folder of XML files, one for each image."""
    folder = drawn.folder / name
    folder.mkdir()
    for image in drawn.content['images']:
        stem = Path(image['file_name']).stem
        text = VOC.format(**{'name': image['file_name'], 'size': SIZE, 'first': 'square', 'difficult': '0', **fields})
        (folder / f'{stem}.xml').write_text(text)
    return folder


def yolo(drawn: Drawn, names: str | None = 'names: [square, bar]', lines: str | None = None) -> Path:
    """A folder of text files, one for each image, below that of ``data.yaml``."""
    folder = drawn.folder / 'labels'
    folder.mkdir()
    if names is not None:
        (drawn.folder / 'data.yaml').write_text(names)
    if lines is None:
        rows = [
            f'{category - 1} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}'
            for x, y, w, h, category in BOXES
        ]
        lines = '\n'.join(rows)
    for image in drawn.content['images']:
        (folder / f'{Path(image["file_name"]).stem}.txt').write_text(lines)
    return folder


def found(data: Annotations) -> dict[str, list[tuple[str, list[float], int]]]:
    """Image -> its objects: class, x y w h, and whether they are ignored."""
    names = {category['id']: category['name'] for category in data.categories}
    files = {image['id']: image['file_name'] for image in data.images}
    objects: dict[str, list[tuple[str, list[float], int]]] = {name: [] for name in files.values()}
    for item in data.objects:
        objects[files[item['image_id']]].append((names[item['category_id']], item['bbox'], item['iscrowd']))
    return objects


def complaint(request: Request) -> str:
    """The message with which a dataset is refused; nothing is written then."""
    with pytest.raises(DataError) as refused:
        make(request)
    assert not request.out.exists()
    assert '\n' not in str(refused.value)
    return str(refused.value)
