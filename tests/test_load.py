"""Work grows with what there is, not with its square: counted in calls, which no other load disturbs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.load import Sample, forked, growth_of, look, more_files
from mmdet_dab.deploy.results import JsonFiles
from mmdet_dab.media_files import find_media


def calls(work: Callable[[], object]) -> int:
    """How often it calls a function, written in Python or not."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ('call', 'c_call')

    gc.collect()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def names_of_results(folder: Path, number: int) -> Callable[[], object]:
    """What ``infer`` does with the names of many images, before and after it detects."""
    for index in range(number):
        (folder / f'{index}.png').touch()
    return lambda: JsonFiles(folder / 'preds', [file.name for file in find_media([folder], folder / 'out')])


@pytest.mark.parametrize(
    ('prepare', 'number'),
    [
        (names_of_results, 200),
        (load.many_annotations, 400),
        (load.lines_of_yolo, 400),
        (load.lines_of_voc, 1600),
        pytest.param(load.many_images_new_data, 60, marks=pytest.mark.slow),
        pytest.param(load.many_classes, 40, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_twice_as_much_is_twice_the_work(tmp_path: Path, capsys, prepare, number):
    counts = []
    for factor in (1, 1, 2, 3):  # the first time, modules are imported and caches filled
        folder = tmp_path / str(len(counts))
        folder.mkdir()
        counts.append(calls(prepare(folder, factor * number)))
    _, once, twice, thrice = counts
    assert thrice - twice < 1.2 * (twice - once) + 200, counts
    assert twice - once > number / 2, 'nothing was counted'


def test_a_label_is_looked_up_at_once(tmp_path: Path):
    """``in range`` compares a float with one number after the other: a million lines of a thousand classes."""
    from mmdet_dab.data.yolo import _read_lines

    class Names(list):
        def __len__(self):
            return 10**12

    (tmp_path / 'a.txt').write_text(f'{10**11} 0.5 0.5 0.1 0.1\n')
    ((_, label, _, _),) = _read_lines(tmp_path / 'a.txt', Names())
    assert label == 10**11


def samples(*megabytes: float, files: int = 10) -> list[Sample]:
    return [Sample(step, value, files) for step, value in enumerate(megabytes)]


def test_growth_is_counted_after_the_warm_up():
    """Of ten looks two are warm-up; the fifths of the other eight are single ones."""
    assert growth_of(samples(10, 50, 100, 100, 100, 100, 100, 100, 100, 103)) == pytest.approx(0.03)
    assert growth_of(samples(10, 50, *[100.0] * 8)) == 0


def test_files_that_stay_open_are_counted(tmp_path: Path):
    before = look(1)
    with (tmp_path / 'a').open('w'):
        after = look(2)
    assert more_files([before] * 2 + [after]) == 1
    assert more_files([before] * 3) == 0


@pytest.mark.slow
def test_a_soak_of_a_few_steps_finds_no_file_left_open(tmp_path: Path):
    rows = load.soak(20, 20, tmp_path)
    assert [(row['what'], row['process']) for row in rows] == [
        ('20 steps, one process', 0),
        ('20 steps, two processes', 0),
        ('20 steps, two processes', 1),
        ('20 predictions', 0),
    ]
    assert all(row['more_files'] <= 0 for row in rows)
    assert all(row['growth'] < 0.2 for row in rows), 'of twenty steps, all are warm-up'


def test_a_failure_is_told(tmp_path: Path):
    assert forked([lambda: 1 / 0], tmp_path / 'output.txt') == [1]
    assert 'ZeroDivisionError' in (tmp_path / 'output.error').read_text()
