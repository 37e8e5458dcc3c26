"""Bring the public blood-cell dataset into the layout of our configs.

1. ``git clone https://github.com/Shenggan/BCCD_Dataset`` (364 images of 640×480, MIT licence)
2. ``python -m benchmarks.bccd_layout BCCD_Dataset data/bccd``
3. ``python tools/train.py configs/custom/bccd_r18_c4_55e.py``

SRC holds Pascal VOC: ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/{train,val,test}.txt``,
itself or in a folder ``BCCD``. DST gets ``images/`` and ``annotations/{train,val,test}.json`` with
the dataset's own split of 205, 87 and 72 images.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import mmdet_dab  # noqa: F401  makes mmdet importable without a compiled mmcv
from mmdet_dab import cli
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.voc import read_voc
from mmdet_dab.errors import DataError, listed, plural

CLASSES = ('RBC', 'WBC', 'Platelets')
SPLITS = ('train', 'val', 'test')


def source_folder(path: Path) -> Path:
    """The folder with ``JPEGImages``.

    Raises:
        DataError: a part of the layout is missing; names it.
    """
    folder = path / 'BCCD' if (path / 'BCCD').is_dir() else path
    parts = ['JPEGImages', 'Annotations', *(f'ImageSets/Main/{split}.txt' for split in SPLITS)]
    missing = [name for name in parts if not (folder / name).exists()]
    if missing:
        raise DataError(
            f'{folder}: {listed(missing)} not found: name the folder that git clone '
            'https://github.com/Shenggan/BCCD_Dataset makes'
        )
    return folder


def convert(source: Path, target: Path) -> dict[str, int]:
    """Write the images and the annotation files; the number of images of each split.

    Raises:
        DataError: the layout is another one, or a split names an image without annotations.
    """
    folder = source_folder(source)
    whole = read_voc(folder / 'Annotations', ImageFolder(folder / 'JPEGImages'), CLASSES)
    rows = {Path(image['file_name']).stem: row for row, image in enumerate(whole.images)}
    counts = {}
    for split in SPLITS:
        names = (folder / f'ImageSets/Main/{split}.txt').read_text().split()
        unknown = [name for name in names if name not in rows]
        if unknown:
            raise DataError(f'{folder}/ImageSets/Main/{split}.txt: no annotations for {listed(unknown)}')
        whole.select([rows[name] for name in names]).write(target / 'annotations' / f'{split}.json')
        counts[split] = len(names)
    shutil.copytree(folder / 'JPEGImages', target / 'images', dirs_exist_ok=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='clone of github.com/Shenggan/BCCD_Dataset')
    parser.add_argument('target', type=Path, help='folder to write, e.g. data/bccd')
    args = parser.parse_args()
    for split, count in convert(args.source, args.target).items():
        print(f'{args.target}/annotations/{split}.json: {plural(count, "image")}')


if __name__ == '__main__':
    cli.run(main)
