"""Checks that open image files: are they there, sound, and the ones that were annotated?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.finding import Finding, Places, are
from mmdet_dab.data.images import ABSENT, Header, ImageFolder, damaged_pixels, same_content
from mmdet_dab.data.orientation import orientation_is_open
from mmdet_dab.errors import listed, plural

#: Images that are decoded; of more, so many are taken, evenly spaced. They take a millisecond or
#: ten each.
MOST_DECODED = 3000


def check_images(data: Annotations, folder: ImageFolder, *, oriented: bool = False) -> list[Finding]:
    """Every image of a split by its header, and up to ``MOST_DECODED`` of them by their pixels.

    Args:
        data: one split.
        folder: of its images.
        oriented: the user said what the boxes were marked on, see
            :class:`mmdet_dab.data.new_dataset.Request`.
    """
    headers = [folder.header(image['file_name']) for image in data.images]
    absent = [row for row, header in enumerate(headers) if header.problem == ABSENT]
    broken = [row for row, header in enumerate(headers) if header.problem and header.problem != ABSENT]
    findings = []
    if absent:
        what = f'{len(absent):,} of {plural(len(headers), "image")} {are(len(absent))} not in {folder.folder}'
        fix = _where(data, absent[0], folder)
        findings.append(Finding(data.source, what, Places(absent, data.image), True, fix, images=absent))
    if broken:
        places = Places(broken, lambda row: f'{data.image(row)} {headers[row].problem}')
        what = f'{plural(len(broken), "image")} cannot be used'
        findings.append(Finding(data.source, what, places, True, 'Copy them again', images=broken))
    outside = [row for row, image in enumerate(data.images) if leads_out(image['file_name'])]
    if outside:
        what = f'{len(outside):,} of {plural(len(headers), "image")} {are(len(outside))} outside of {folder.folder}'
        findings.append(
            Finding(data.source, what, Places(outside, data.image), fix='Look whether they should lie there')
        )
    findings += _check_sizes(data, headers)
    if not oriented:
        findings += _check_orientation(data, headers)
    deep = [row for row, header in enumerate(headers) if header.mode in ('I', 'F') or header.mode.startswith('I;16')]
    if deep:
        what = f'{plural(len(deep), "image")} with more than 8 bits'
        fix = 'They are read as 8 bits: look at the sample sheet whether anything is to be seen'
        findings.append(Finding(data.source, what, Places(deep, data.image), fix=fix))
    usable = [row for row, header in enumerate(headers) if not header.problem]
    return [*findings, *_check_pixels(data, usable, folder)]


def leads_out(name: str) -> bool:
    """Whether a file name, relative to a folder, is that of a file outside of it."""
    return os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == '..'


def _check_pixels(data: Annotations, rows: Sequence[int], folder: ImageFolder) -> Iterator[Finding]:
    """Holes in the data of an image, which decoders fill with grey."""
    if not rows:
        return
    steps = np.linspace(0, len(rows) - 1, min(len(rows), MOST_DECODED)).round().astype(int).tolist()
    paths = {folder.folder / data.images[rows[step]]['file_name']: rows[step] for step in steps}
    damaged = damaged_pixels(paths)
    if damaged:
        found = {paths[path]: said for path, said in damaged.items()}
        places = Places(list(found), lambda row: f'{data.image(row)}: {found[row]}')
        looked = f' ({len(paths):,} of {len(rows):,} were decoded)' if len(paths) < len(rows) else ''
        what = f'{plural(len(found), "image")} with damaged pixels{looked}'
        yield Finding(data.source, what, places, True, 'Copy them again', images=list(found))


def check_unlisted(splits: Sequence[Annotations], folder: ImageFolder) -> list[Finding]:
    """Images of a folder that no split lists."""
    names = {image['file_name'] for data in splits for image in data.images}
    others = [name for name in folder.files if name not in names]
    if not others or len(others) == len(folder.files):
        return []
    what = f'{len(others):,} of {plural(len(folder.files), "image")} {are(len(others))} not listed, and not used'
    return [Finding(folder.folder, what, others)]


def _where(data: Annotations, row: int, folder: ImageFolder) -> str:
    """Where the first of the missing images may be."""
    name = data.images[row]['file_name']
    below = [path for path in sorted(folder.folder.glob('*')) if path.is_dir()]
    near = [parent for parent in (*folder.folder.resolve().parents[:3], *below) if os.path.isfile(parent / name)]
    if near:
        which = 'that folder' if len(near) == 1 else 'the one that was annotated'
        return f'They are in {listed(near, 3)}: give {which}'
    found = folder.find(name)
    return f'{name} is there as {found[0]}: the file must say so' if found else 'Copy them there'


def _check_sizes(data: Annotations, headers: Sequence[Header]) -> Iterator[Finding]:
    """Images of another size than the annotations say."""
    resized: list[int] = []
    turned: list[int] = []
    for row, (image, header) in enumerate(zip(data.images, headers, strict=True)):
        stated = image['width'], image['height']
        if not header.problem and stated != header.loaded_size:
            (turned if stated == header.stored_size else resized).append(row)
    words = _sizes(data, headers)
    if resized:
        what = f'{len(resized):,} of {plural(len(headers), "image")} {are(len(resized))} not of the stated size'
        fix = 'Boxes would lie elsewhere: give the images that were annotated'
        yield Finding(data.source, what, Places(resized, words), True, fix, images=resized)
    if turned:
        what = f'{len(turned):,} of {plural(len(headers), "image")} {are(len(turned))} turned by the EXIF orientation '
        what += 'when loaded, and annotated unturned'
        fix = 'Turn the boxes with the images by --boxes-on stored'
        yield Finding(data.source, what, Places(turned, words), True, fix, images=turned)


def _sizes(data: Annotations, headers: Sequence[Header]) -> Callable[[int], str]:
    def words(row: int) -> str:
        image, (width, height) = data.images[row], headers[row].loaded_size
        return f'{data.image(row)}: {image["width"]}×{image["height"]} annotated, {width}×{height} loaded'

    return words


def _check_orientation(data: Annotations, headers: Sequence[Header]) -> Iterator[Finding]:
    open_rows = [row for row, header in enumerate(headers) if orientation_is_open(data, row, header)]
    if open_rows:
        places = Places(open_rows, lambda row: f'{data.image(row)}: orientation {headers[row].orientation}')
        what = f'{len(open_rows):,} of {plural(len(headers), "image")} {are(len(open_rows))} turned or mirrored by the '
        what += 'EXIF orientation when loaded, and no size tells whether the boxes were marked on that'
        fix = 'Look at the sample sheet; if the boxes lie wrong, they were marked on the stored pixels: '
        fix += 'add --boxes-on stored, else --boxes-on upright'
        yield Finding(data.source, what, places, fix=fix)


def check_repeated_images(train: tuple[Annotations, Path], val: tuple[Annotations, Path]) -> list[Finding]:
    """Images that come twice in training, and training images that are in validation as well.

    Args:
        train: annotations, and the folder of their images.
        val: the same.
    """
    sides = [set(_resolved(folder / image['file_name'] for image in data.images)) for data, folder in (train, val)]
    groups = [set(group) for group in same_content(sides[0] | sides[1])]
    findings = []
    twice = [sorted(path.name for path in group & sides[0]) for group in groups if len(group & sides[0]) > 1]
    if twice:
        what = f'{plural(len(twice), "image")} more than once under different names'
        findings.append(Finding(train[0].source, what, [' = '.join(names[:3]) for names in twice]))
    shared = sides[0] & sides[1]
    shared |= {path for group in groups if group & sides[0] for path in group & sides[1]}
    if shared:
        what = f'{len(shared):,} of {plural(len(sides[1]), "validation image")} {are(len(shared))} training images, too'
        fix = 'The AP will tell how well they were learned by heart'
        findings.append(Finding(val[0].source, what, sorted(path.name for path in shared), fix=fix))
    return findings


def _resolved(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield path.resolve()
