"""The layout of the public blood-cell repository becomes that of our configs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from benchmarks.bccd_layout import convert
from mmdet_dab.errors import DataError
from tests.helpers.paths import CONFIGS

OBJECT = '<object><name>{}</name><bndbox><xmin>4</xmin><ymin>6</ymin><xmax>24</xmax><ymax>16</ymax></bndbox></object>'
PARTS = dict(train=('a', 'c'), val=('b',), test=('d',))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A made-up copy of the repository with four images."""
    folder = tmp_path / 'BCCD_Dataset/BCCD'
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True)
    for name, kind in zip('abcd', ('RBC', 'WBC', 'Platelets', 'RBC'), strict=True):
        cv2.imwrite(str(folder / f'JPEGImages/{name}.jpg'), np.zeros((48, 64, 3), np.uint8))
        size = '<size><width>64</width><height>48</height><depth>3</depth></size>'
        text = f'<annotation><filename>{name}.jpg</filename>{size}{OBJECT.format(kind)}</annotation>'
        (folder / f'Annotations/{name}.xml').write_text(text)
    for split, names in PARTS.items():
        (folder / f'ImageSets/Main/{split}.txt').write_text('\n'.join(names) + '\n')
    return folder.parent


@pytest.mark.parametrize('inside', ['', 'BCCD'])
def test_layout(clone: Path, tmp_path: Path, inside: str):
    target = tmp_path / 'data/bccd'
    assert convert(clone / inside, target) == dict(train=2, val=1, test=1)
    assert sorted(path.name for path in (target / 'images').iterdir()) == ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg']
    for split, names in PARTS.items():
        content = json.loads((target / f'annotations/{split}.json').read_text())
        assert [image['file_name'] for image in content['images']] == [f'{name}.jpg' for name in names]
        assert [category['name'] for category in content['categories']] == ['RBC', 'WBC', 'Platelets']
        assert [item['bbox'] for item in content['annotations']] == [[4, 6, 20, 10]] * len(names)
    config = Config.fromfile(CONFIGS / 'custom/bccd_r18_c4_55e.py')
    for path in (config.train_annotations, config.val_annotations, f'{config.images.img}/a.jpg'):
        assert (tmp_path / path).is_file()


def test_missing_parts_and_unknown_names_are_named(clone: Path, tmp_path: Path):
    (clone / 'BCCD/ImageSets/Main/val.txt').write_text('gone\n')
    with pytest.raises(DataError, match=r'val\.txt.*gone'):
        convert(clone, tmp_path / 'out')
    (clone / 'BCCD/ImageSets/Main/test.txt').unlink()
    with pytest.raises(DataError, match=r'ImageSets/Main/test\.txt'):
        convert(clone, tmp_path / 'out')
