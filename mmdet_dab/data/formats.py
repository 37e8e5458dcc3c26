"""One split in whatever format it is: which it is, and reading it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.coco import complete, read_coco
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.voc import annotation_files, read_voc
from mmdet_dab.data.yolo import label_files, read_yolo
from mmdet_dab.errors import DataError, listed
from mmdet_dab.media_files import files_below

FORMATS = ('coco', 'voc', 'yolo')


def detect_format(path: Path) -> str:
    """``coco`` for a .json file; ``voc`` for a folder of .xml, ``yolo`` for one of .txt files.

    Raises:
        DataError: there is nothing of these, or more than one.
    """
    if path.is_file():
        if path.suffix.lower() == '.json':
            return 'coco'
        raise DataError(f'{path}: it is a file, but not a .json of COCO. For VOC and YOLO, give the folder of files.')
    if not path.is_dir():
        raise DataError(f'{path}: it does not exist. Give a .json file of COCO, or the folder of VOC or YOLO files.')
    found = [kind for kind, files in (('voc', annotation_files(path)), ('yolo', label_files(path))) if files]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f'{path}: it holds .xml and .txt files. Say by --format which are the annotations.')
    json_files = files_below(path, ('.json',))
    if json_files:
        raise DataError(f'{path}: it is a folder with .json files. Give the annotation file: {listed(json_files)}')
    raise DataError(f'{path}: it holds neither .json (COCO) nor .xml (VOC) nor .txt files (YOLO). Check the folder.')


def read(
    path: Path, kind: str, images: ImageFolder, classes: Sequence[str] | None, shared_images: bool = False
) -> Annotations:
    """Read one split, complete with what mmdet needs.

    Args:
        path: a file or folder.
        kind: one of :data:`FORMATS`.
        images: where they lie.
        classes: names that were asked for, in order; for VOC the order of labels, for YOLO the
            names of the numbers.
        shared_images: the folder holds images of other splits, too.

    Raises:
        DataError: something cannot be read; names the file.
    """
    if kind == 'coco':
        if not path.is_file():
            raise DataError(f'{path}: it is not a file. For --format coco, give the .json file.')
        return complete(read_coco(path), images.size)
    if not path.is_dir():
        raise DataError(f'{path}: it is not a folder. For --format {kind}, give the folder of its files.')
    if kind == 'voc':
        data = read_voc(path, images, classes)
    else:
        data = read_yolo(path, images, classes, every_image=not shared_images)
    if not data.images:
        suffix = '.xml' if kind == 'voc' else '.txt'
        raise DataError(f'{path}: it holds no {suffix} file, or {images.folder} no image. Check both folders.')
    return data
