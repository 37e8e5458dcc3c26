"""The benchmarks' arithmetic: shares, floors and growth, on tiny models and by hand."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import time
from collections import Counter

import cv2
import pytest

from benchmarks import side_by_side, speed, whole_test
from benchmarks.growth import Point, exponent, growth, losses
from benchmarks.profile import (
    MATCHING,
    REST,
    BackwardClock,
    Clock,
    backward_multiply_adds,
    least,
    line,
    multiply_adds,
    rows_of,
)
from mmdet_dab.analysis.complexity import count
from tests.helpers import tiny


def test_growth_by_hand():
    """Twice the arithmetic in twice the time, then four times in eight times the time: 8 = 4^1.5."""
    points = [Point(1, 0.5, 10.0), Point(2, 1.0, 20.0), Point(4, 4.0, 40.0)]
    assert growth(points) == pytest.approx([1, 1, 2])
    assert exponent(points) == pytest.approx(1.5)
    assert exponent(points[:2]) == pytest.approx(1)


def test_floor_by_hand():
    """3 G multiply-adds are 6 G operations: 60 ms at 100 GFLOPS, of which 120 ms is twice as much."""
    assert line('part', 0.12, 0.48, 3_000_000_000, 100) == ('part', '120.0', '25%', '3.00', '60.0', '2.0 ×')
    assert line('part', 0.12, 0.48, 0, 100)[-1] == '—'


def test_time_is_booked_on_the_innermost_row():
    """The decoder runs from 1 to 7, and in it the head from 2 to 4."""
    ticks = iter([0.0, 1.0, 2.0, 4.0, 7.0, 9.0])
    clock = Clock(lambda: next(ticks))
    clock.reset()
    for row in ('decoder', 'bbox_head'):
        clock.enter(row)
    clock.leave()
    clock.leave()
    clock.enter('encoder')
    assert clock.seconds['decoder'] == 1 + 3
    assert clock.seconds['bbox_head'] == 2
    assert sum(clock.seconds.values()) == 9


def test_the_least_of_all_rounds():
    steps = iter([{'a': {'x': 0.1}}, {'a': {'x': 3.0, 'y': 1.0}}, {'a': {'x': 2.0, 'y': 4.0}}])
    rates = iter([1.0, 5.0, 3.0])
    assert least(2, lambda: next(steps), lambda: next(rates)) == ({'a': {'x': 2.0, 'y': 1.0}}, 5.0)


def test_parts_of_a_step():
    """Every row has its time, rows add up to the whole arithmetic, and gradients go through the parts in order."""
    model = tiny.build().train()
    pictures, samples = tiny.batch([(64, 96)] * 2)
    forward, backward = Clock(time.perf_counter), BackwardClock(time.perf_counter)
    with forward.watching(model), backward.watching(model):
        forward.reset()
        backward.backward(sum(model(pictures, samples, mode='loss').values()))
    assert {*rows_of(model).values(), MATCHING} == {*forward.seconds} - {REST}
    assert list(backward.seconds) == ['bbox_head', 'decoder', 'encoder', 'neck', 'backbone']
    assert all(seconds > 0 for seconds in backward.seconds.values())
    assert not model.backbone._forward_hooks, 'something was left behind'


def test_multiply_adds_of_the_rows_add_up():
    model = tiny.build()
    counts = count(model, {(64, 96): 1})
    rows = multiply_adds(model, counts)
    whole = (counts.weights + counts.attention).total()
    assert rows.total() == whole
    assert rows['decoder: cross_attention'] > 0
    assert backward_multiply_adds(model, counts).total() == 2 * whole
    model.backbone.conv1.requires_grad_(False)
    assert backward_multiply_adds(model, counts).total() == 2 * (whole - counts.weights['backbone.conv1'])


def test_losses_are_timed_for_any_number_of_objects():
    """6 layers, 4 images, 300 queries: 80 logits, 2 costs and 4 comparisons each."""
    seconds, numbers = losses(2, rounds=1, now=time.perf_counter)
    assert 0 < seconds < math.inf
    assert numbers == pytest.approx(6 * 4 * 300 * 86 / 1e6)


def measured(monkeypatch, tmp_path, **machines: str) -> None:
    """Parts that were measured, each on its machine."""
    monkeypatch.setattr(side_by_side, 'PAGE', tmp_path / 'page.md')
    monkeypatch.setattr(side_by_side, 'RESULTS', tmp_path)
    monkeypatch.setattr(speed, 'draw', lambda page: None)
    marks = '\n'.join(f'<!-- {name}: begin -->\nold\n<!-- {name}: end -->' for name in (*machines, 'machine'))
    side_by_side.PAGE.write_text(marks)
    for number, (name, machine) in enumerate(machines.items()):
        part = side_by_side.Part(f'table of {name}', {})
        side_by_side.save(name, part, machine=machine, rate=90 + number, commit='abc')


def test_all_parts_are_published_with_one_machine(tmp_path, monkeypatch):
    measured(monkeypatch, tmp_path, growth='EPYC', matching='EPYC')
    speed.publish(['growth', 'matching'], side_by_side.PAGE)
    page = side_by_side.PAGE.read_text()
    assert 'old' not in page
    assert 'table of growth' in page
    assert re.search(r'EPYC; between 90 and 91 GFLOPS.*Commit\sabc', page, re.DOTALL)


def test_parts_of_two_machines_are_not_one_run(tmp_path, monkeypatch):
    measured(monkeypatch, tmp_path, growth='EPYC', matching='Xeon')
    with pytest.raises(SystemExit, match=r'not of one machine .*matching: Xeon'):
        speed.publish(['growth', 'matching'], side_by_side.PAGE)
    assert 'table of' not in side_by_side.PAGE.read_text()


def test_a_part_that_was_not_measured_stays(tmp_path, monkeypatch, capsys):
    measured(monkeypatch, tmp_path, growth='EPYC')
    side_by_side.PAGE.write_text(side_by_side.PAGE.read_text() + '\n<!-- matching: begin -->\nas it was')
    speed.publish(['growth', 'matching'], side_by_side.PAGE)
    assert 'as it was' in side_by_side.PAGE.read_text()
    assert 'matching' in capsys.readouterr().out


def test_a_whole_test_of_drawn_images(tmp_path):
    """Annotations are COCO's, and fit their images."""
    whole_test.draw(tmp_path, 3)
    found = json.loads((tmp_path / 'annotations.json').read_text())
    assert [len(found[key]) for key in ('images', 'annotations', 'categories')] == [3, 3 * whole_test.OBJECTS, 80]
    sizes = {image['id']: cv2.imread(str(tmp_path / image['file_name'])).shape[:2] for image in found['images']}
    for box in found['annotations']:
        height, width = sizes[box['image_id']]
        assert box['bbox'][0] + box['bbox'][2] <= width
        assert box['bbox'][1] + box['bbox'][3] <= height


def test_results_go_between_their_marks(tmp_path, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text('above\n<!-- growth: begin -->\nold\n<!-- growth: end -->\nbelow\n')
    monkeypatch.setattr(side_by_side, 'PAGE', page)
    monkeypatch.setattr(side_by_side, 'RESULTS', tmp_path)
    side_by_side.keep('growth', 'new', Counter(a=1), publish=True)
    assert page.read_text() == 'above\n<!-- growth: begin -->\nnew\n<!-- growth: end -->\nbelow\n'
    with pytest.raises(SystemExit, match='lacks the marks <!-- profile: begin -->'):
        side_by_side.keep('profile', 'new', {}, publish=True)


def nothing():
    return (lambda: None), (lambda: {})


def test_what_takes_minutes_is_timed_at_once():
    args = argparse.Namespace(only=None, rounds=None, threads=1, device='cpu')
    task = speed.Task({'one': nothing, 'other': nothing}, rounds=1, outputs=False, warm=False)
    part = speed.measured('a test', task, args)
    assert [len(row['seconds']) for row in part.data['results']] == [1, 1]


def test_peak_memory_is_that_of_the_candidate_alone():
    held = bytearray(os.urandom(2**20) * 512)  # in this process, which starts it
    (result,) = side_by_side.measure({'one': nothing}, rounds=1, threads=1)
    assert 0.05 < result.peak_gb < side_by_side.peak_gb('cpu') - len(held) / 2**31


def fails():
    raise ValueError('on purpose')


def ends():
    os._exit(1)


@pytest.mark.parametrize(
    ('candidate', 'reason'), [(fails, 'ValueError: on purpose'), (ends, 'ended without an answer')]
)
def test_a_candidate_that_fails_ends_the_part(candidate, reason):
    with pytest.raises(RuntimeError, match=f'other .*{reason}' if candidate is ends else reason):
        side_by_side.measure({'one': nothing, 'other': candidate}, rounds=1, threads=1)


def test_a_part_that_fails_loses_none_of_the_others(tmp_path, monkeypatch, capsys):
    measured(monkeypatch, tmp_path, good='EPYC', bad='EPYC')

    def raising():
        raise RuntimeError('on purpose')

    found = {'bad': raising, 'good': lambda: side_by_side.Part('new table', {})}
    monkeypatch.setattr(speed, 'parts', lambda args: found)
    monkeypatch.setattr(side_by_side, 'machine_name', lambda: 'EPYC')
    monkeypatch.setattr(side_by_side, 'matmul_rate', lambda threads: 1.0)
    monkeypatch.setattr('sys.argv', ['speed', '--publish', '--page', str(side_by_side.PAGE)])
    with pytest.raises(SystemExit, match='failed, see above: bad'):
        speed.main()
    assert 'new table' in side_by_side.PAGE.read_text()
    assert 'table of bad' in side_by_side.PAGE.read_text()


def test_the_first_images_of_a_set_with_their_boxes(tmp_path):
    whole_test.draw(tmp_path, 3)
    whole_test.first(tmp_path / 'annotations.json', 2, tmp_path / 'some.json')
    found = json.loads((tmp_path / 'some.json').read_text())
    assert [len(found[key]) for key in ('images', 'annotations')] == [2, 2 * whole_test.OBJECTS]
