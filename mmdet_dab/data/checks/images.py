"""Checks that open picture files: whether they are there, can be read, and are the ones that were annotated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.data.images import ABSENT, PictureFolder, read_header, same_content

#: Names of orientations that no size tells.
MIRRORED_OR_UPSIDE_DOWN = (2, 3, 4)


def check_pictures(data: Annotations, folder: PictureFolder) -> list[Finding]:
    """Every picture of a split, by its header."""
    paths = [folder.folder / image['file_name'] for image in data.images]
    headers = [read_header(path) for path in paths]
    absent = [row for row, header in enumerate(headers) if header.fault == ABSENT]
    broken = [row for row, header in enumerate(headers) if header.fault and header.fault != ABSENT]
    findings = []
    if absent:
        what = f'{len(absent)} of {len(paths)} pictures are not in {folder.folder}'
        findings.append(
            Finding(data.source, what, _names(data, absent), True, _where(data, absent, folder), images=absent)
        )
    if broken:
        places = [f'{_name(data, row)} {headers[row].fault}' for row in broken]
        findings.append(
            Finding(
                data.source, f'{len(broken)} pictures cannot be used', places, True, 'copy them again', images=broken
            )
        )
    findings += _check_sizes(data, paths)
    deep = [row for row, header in enumerate(headers) if header.mode in ('I', 'F') or header.mode.startswith('I;16')]
    if deep:
        mend = 'they are read as 8 bits, look at the sheet whether anything is to be seen'
        findings.append(
            Finding(data.source, f'{len(deep)} pictures have more than 8 bits', _names(data, deep), mend=mend)
        )
    return findings


def check_unlisted(splits: Sequence[Annotations], folder: PictureFolder) -> list[Finding]:
    """Pictures of a folder that no split lists."""
    names = {image['file_name'] for data in splits for image in data.images}
    others = [name for name in folder.files if name not in names]
    if not others or len(others) == len(folder.files):
        return []
    return [
        Finding(folder.folder, f'{len(others)} of {len(folder.files)} pictures are not listed, and not used', others)
    ]


def _name(data: Annotations, row: int) -> str:
    image = data.images[row]
    return f'{image["file_name"]} of id {image["id"]!r}'


def _names(data: Annotations, rows: Iterable[int]) -> list[str]:
    return [_name(data, row) for row in rows]


def _where(data: Annotations, rows: list[int], folder: PictureFolder) -> str:
    """Where the first of the missing pictures may be."""
    name = data.images[rows[0]]['file_name']
    for parent in (*folder.folder.resolve().parents[:3], *(path for path in folder.folder.glob('*') if path.is_dir())):
        if (parent / name).is_file():
            return f'they are in {parent}, give that folder'
    found = folder.find(name)
    return f'{name} is there as {found}, the file must say so' if found else 'copy them there'


def _check_sizes(data: Annotations, paths: list[Path]) -> Iterable[Finding]:
    resized: list[int] = []
    turned: list[int] = []
    mirrored: list[int] = []
    for row, (image, path) in enumerate(zip(data.images, paths, strict=True)):
        header = read_header(path)
        if header.fault:
            continue
        annotated, stored = (image['width'], image['height']), (header.width, header.height)
        if annotated != header.loaded_size:
            (turned if annotated == stored else resized).append(row)
        elif header.orientation in MIRRORED_OR_UPSIDE_DOWN:
            mirrored.append(row)
    if resized:
        places = [_sizes(data, row, paths[row]) for row in resized]
        what = f'{len(resized)} of {len(paths)} pictures are not of the size that the annotations say'
        mend = 'boxes would lie elsewhere, give the pictures that were annotated'
        yield Finding(data.source, what, places, True, mend, images=resized)
    if turned:
        places = [_sizes(data, row, paths[row]) for row in turned]
        what = f'{len(turned)} of {len(paths)} pictures are turned by their EXIF tag when they are loaded'
        yield Finding(
            data.source, what, places, True, 'they were annotated unturned, save them without the tag', images=turned
        )
    if mirrored:
        what = f'{len(mirrored)} pictures are mirrored or turned upside down by their EXIF tag when they are loaded'
        yield Finding(data.source, what, _names(data, mirrored), mend='look at the sheet whether boxes lie right')


def _sizes(data: Annotations, row: int, path: Path) -> str:
    image, (width, height) = data.images[row], read_header(path).loaded_size
    return f'{_name(data, row)}: {image["width"]}×{image["height"]} annotated, {width}×{height} loaded'


def check_repeated_pictures(train: tuple[Annotations, Path], val: tuple[Annotations, Path]) -> list[Finding]:
    """Pictures that come twice in a training, and those of the training that come in validation as well.

    Args:
        train: annotations, and the folder of their pictures.
        val: the same.
    """
    sides = [{(folder / image['file_name']).resolve() for image in data.images} for data, folder in (train, val)]
    groups = [set(group) for group in same_content(sides[0] | sides[1])]
    findings = []
    twice = [sorted(path.name for path in group & sides[0]) for group in groups if len(group & sides[0]) > 1]
    if twice:
        what = f'{len(twice)} pictures come more than once under different names'
        findings.append(Finding(train[0].source, what, [' = '.join(names[:3]) for names in twice]))
    shared = sides[0] & sides[1]
    shared |= {path for group in groups if group & sides[0] for path in group & sides[1]}
    if shared:
        what = f'{len(shared)} of {len(sides[1])} validation pictures are training pictures as well'
        mend = 'the AP will tell how well they were learned by heart'
        findings.append(Finding(val[0].source, what, sorted(path.name for path in shared), mend=mend))
    return findings
