"""Hostile and odd annotations end in data or in one message, and are never run."""

from __future__ import annotations

import resource
import shutil
import time
from pathlib import Path

from benchmarks.hostile import annotations
from benchmarks.hostile.task import draw
from benchmarks.hostile.trial import Guarded
from mmdet_dab.data.checks.annotations import check_annotations
from mmdet_dab.data.checks.classes import check_categories, check_classes
from mmdet_dab.data.checks.images import check_images
from mmdet_dab.data.formats import read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.errors import UserError


def attempt(odd: annotations.OddData, place: Path, images: ImageFolder) -> str:
    """``'taken'``, ``'refused'``, or what went wrong."""
    try:
        data = read(odd.write(place), odd.kind, images, None)
        findings = [*check_categories(data), *check_annotations(data, training=True), *check_images(data, images)]
        if len(data.categories) < 1000:
            findings += check_classes(data, data.names(), training=True)
        message = '\n'.join(str(finding) for finding in findings if finding.stops)
    except UserError as error:
        message = str(error)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    lines = message.splitlines()
    return f'a message of several lines: {message}' if len(lines) > 20 else 'refused' if lines else 'taken'


def test_every_file(tmp_path: Path):
    task = draw(tmp_path / 'task')
    images = ImageFolder(task.folder / 'images')
    guarded = Guarded(tmp_path / 'guarded')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong, tried = [], 0
    for odd in annotations.odd_data(task):
        place = tmp_path / 'place'
        place.mkdir()
        tried += 1
        started = time.process_time()
        ended = attempt(odd, place, images)
        seconds = time.process_time() - started
        if ended not in ('taken', 'refused') or (odd.usable is False and ended == 'taken') or seconds > 10:
            wrong.append(f'{odd.what}: {ended:.200}, {seconds:.1f} s')
        if guarded.harm() or Path('code_was_run').exists():
            wrong.append(f'{odd.what}: code was run')
        shutil.rmtree(place)
    assert not wrong, '\n'.join(wrong)
    assert tried > 250
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes
