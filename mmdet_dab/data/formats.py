"""Whatever format a data set is in, and finding out which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.coco import fill_in, read_coco
from mmdet_dab.data.images import PictureFolder
from mmdet_dab.data.voc import read_voc
from mmdet_dab.data.yolo import label_files, read_yolo
from mmdet_dab.errors import DataError, listed

FORMATS = ('coco', 'voc', 'yolo')


def detect_format(path: Path) -> str:
    """``coco`` for a .json file; ``voc`` for a folder of .xml files, ``yolo`` for one of .txt files.

    Raises:
        DataError: there is nothing of these, or more than one.
    """
    if path.is_file():
        if path.suffix.lower() == '.json':
            return 'coco'
        raise DataError(f'{path} is a file, but no .json of COCO; for VOC and YOLO, give the folder of their files')
    if not path.is_dir():
        raise DataError(f'{path} does not exist: give a .json file of COCO, or the folder of VOC or YOLO files')
    kinds = {'voc': next(path.rglob('*.xml'), None), 'yolo': next(iter(label_files(path)), None)}
    found = [kind for kind, file in kinds.items() if file is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f'{path} holds .xml and .txt files: say by --format which are the annotations')
    json_files = sorted(path.rglob('*.json'))
    if json_files:
        raise DataError(f'{path} is a folder with .json files, give the one with the annotations: {listed(json_files)}')
    raise DataError(f'{path} holds neither .json (COCO) nor .xml (VOC) nor .txt files (YOLO)')


def read(
    path: Path, kind: str, pictures: PictureFolder, classes: Sequence[str] | None, shared_pictures: bool = False
) -> Annotations:
    """Read one split, complete with what mmdet needs.

    Args:
        path: a file or folder.
        kind: one of :data:`FORMATS`.
        pictures: where they lie.
        classes: names that were asked for, in order; for VOC the order of labels, for YOLO the names of the numbers.
        shared_pictures: the folder holds pictures of other splits, too.

    Raises:
        DataError: something cannot be read; names the file.
    """
    if kind == 'coco':
        if not path.is_file():
            raise DataError(f'{path} is not a file: for COCO, give the .json file')
        return fill_in(read_coco(path), pictures.size)
    if not path.is_dir():
        raise DataError(f'{path} is not a folder: for {kind.upper()}, give the folder of its files')
    if kind == 'voc':
        data = read_voc(path, pictures, classes)
        suffix = '.xml'
    else:
        data = read_yolo(path, pictures, classes, every_picture=not shared_pictures)
        suffix = '.txt'
    if not data.images:
        raise DataError(f'{path} holds no {suffix} file, or {pictures.folder} no picture')
    return data
