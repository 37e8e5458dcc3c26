"""Logs of training runs are joined by step, whatever became of them, and drawn side by side."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmdet_dab.analysis.curves import end_of, table
from mmdet_dab.analysis.scalars import read_log
from mmdet_dab.errors import DataError
from tests.helpers.commands import Commands


def step(number: int, loss: float, **more: Any) -> dict[str, Any]:
    return dict(step=number, loss=loss, lr=1e-4, time=0.5, iter=number, **more)


def validation(number: int, value: float) -> dict[str, Any]:
    return {'step': number, 'coco/bbox_mAP': value, 'time': 0.1}


def log(work_dir: Path, start: str, *entries: dict[str, Any], end: str = '') -> Path:
    """Write the log of one start; ``end`` comes after the last whole line."""
    file = work_dir / start / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(entry) + '\n' for entry in entries) + end)
    return file


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capfd)


def test_a_resumed_run_takes_the_place_of_what_it_repeats(tmp_path: Path):
    """Checkpoint at 200, killed at 300, resumed: 250 and 300 of the first start were lost."""
    first = [step(number, 10 - number / 100) for number in (50, 100, 150, 200, 250, 300)]
    log(tmp_path, '20260101_000000', *first, validation(200, 0.2), validation(300, 0.9))
    log(tmp_path, '20260101_010000', step(250, 1.0), validation(250, 0.3))
    run = read_log(tmp_path)
    assert run.curve('loss') == ([50, 100, 150, 200, 250], [9.5, 9.0, 8.5, 8.0, 1.0])
    assert run.curve('coco/bbox_mAP') == ([200, 250], [0.2, 0.3])
    assert run.starts == 2
    assert run.name == tmp_path.name


def test_validations_by_epoch_stand_at_the_end_of_their_epoch(tmp_path: Path):
    """Epochs of 7 steps, logged every 3: epoch 2 ends after step 14."""
    entries = [step(3, 1.0, epoch=1), step(6, 1.0, epoch=1), step(10, 1.0, epoch=2), step(13, 1.0, epoch=2)]
    log(tmp_path, 'a', *entries, validation(1, 0.1), step(14, 1.0, epoch=2), validation(2, 0.2))
    assert read_log(tmp_path).curve('coco/bbox_mAP') == ([7, 14], [0.1, 0.2])


def test_losses_of_layers_leave_denoising_out(tmp_path: Path):
    losses = {'d0.loss_cls': 3.0, 'd0.loss_bbox': 2.0, 'd0.dn_loss_cls': 50.0, 'd1.loss_iou': 4.0, 'loss_cls': 1.0}
    log(tmp_path, 'a', step(1, 9.0, **losses, dn_loss_iou=70.0))
    assert read_log(tmp_path).layer_losses() == {0: ([1], [5.0]), 1: ([1], [4.0]), 2: ([1], [1.0])}


def test_lines_that_are_no_entries_are_named_and_the_rest_is_read(tmp_path: Path):
    file = log(tmp_path, 'a', step(1, 5.0))
    with file.open('ab') as stream:
        stream.write(b'{"loss": 3\n[1, 2]\n\xff\xfe\n{"loss": 1.0}\n{"loss": 1.0, "step": NaN}\n')
        stream.write(b'{"loss": NaN, "step": 2, "lr": 0.1}\n{"loss": 4.0, "st')
    run = read_log(tmp_path)
    assert run.unreadable == tuple(f'{file}:{line}' for line in (2, 3, 4, 5, 6)), 'the last line is being written'
    steps, losses = run.curve('loss')
    assert steps == [1, 2]
    assert math.isnan(losses[1])


@pytest.mark.parametrize('path', ['work', 'work/20260101', 'work/20260101/vis_data/scalars.json'])
def test_a_run_is_named_by_its_work_dir_its_start_or_its_file(tmp_path: Path, path: str):
    log(tmp_path / 'work', '20260101', step(1, 5.0))
    assert read_log(tmp_path / path).curve('loss') == ([1], [5.0])


def test_what_is_no_work_dir_is_refused_with_its_name(tmp_path: Path):
    log(tmp_path / 'many' / 'one', 'a', step(1, 5.0))
    log(tmp_path / 'empty', 'a')
    (tmp_path / 'images').mkdir()
    for name, word in (('nowhere', 'nowhere'), ('images', 'images'), ('many', 'many/one'), ('empty', 'scalars.json')):
        with pytest.raises(DataError, match=word):
            read_log(tmp_path / name)


def test_the_end_of_a_run_is_its_last_tenth():
    assert end_of([10, 50, 91, 100], [9.0, 8.0, 3.0, 1.0]) == 2.0
    assert end_of([7], [4.0]) == 4.0
    assert math.isnan(end_of([], []))


def test_the_table_compares_the_best_validations(tmp_path: Path):
    log(tmp_path / 'good', 'a', step(1, 5.0), validation(1, 0.5), step(2, 4.0), validation(2, 0.4))
    log(tmp_path / 'none', 'a', step(1, 6.0))
    good, none = (
        line.split() for line in table([read_log(tmp_path / name) for name in ('good', 'none')]).splitlines()[1:]
    )
    assert good[:2] == ['good', '2']
    assert good[3:7] == ['4.000', '0.500', '1', '0.400']
    assert none[:4] == ['none', '1', '1', '6.000']


def test_the_command_draws_what_it_can_and_says_what_it_cannot(command: Commands, tmp_path: Path):
    drift = dict(anchor_drift_xy=0.01, anchor_drift_wh=0.02)
    log(
        tmp_path / 'a $x$' / 'run',
        't',
        step(1, 5.0, **{'d0.loss_cls': 2.0, 'loss_cls': 1.0}, **drift),
        validation(1, 0.5),
    )
    log(tmp_path / 'b' / 'run', 't', step(1, 6.0, **{'d0.loss_cls': 2.0, 'loss_cls': 1.0}), end='{"loss": 1\n')
    (tmp_path / 'c').mkdir()
    error = command.error('curves', 'c')
    assert 'c ' in error
    command.capfd.readouterr()
    from mmdet_dab import cli

    assert cli.main(['curves', 'a $x$/run', 'b/run', 'c', '--out', 'drawn/all']) == 1, 'one was left out'
    printed = command.capfd.readouterr()
    assert [line.split(':')[0] for line in printed.err.splitlines()] == ['warning', 'error']
    assert 'b/run' in printed.err.splitlines()[0]
    names = [line.split('  ')[0] for line in printed.out.splitlines()[1:3]]
    assert names == ['a $x$/run', 'b/run'], 'work directories of one name are told apart'
    assert Image.open('drawn/all.png').width > 800
    svg = Path('drawn/all.svg').read_text()
    assert svg.startswith('<?xml')


def test_a_metric_that_no_run_has_is_named_with_those_that_there_are(command: Commands, tmp_path: Path):
    log(tmp_path / 'run', 't', step(1, 5.0), validation(1, 0.5))
    assert 'coco/bbox_mAP' in command('curves', 'run', '--metric', 'voc/mAP')


def test_names_of_metrics_are_no_formulas_and_lines_of_two_quantities_are_told_once(command: Commands, tmp_path: Path):
    """The SVG names every text that it draws in a comment."""
    drift = dict(anchor_drift_xy=0.01, anchor_drift_wh=0.02)
    for run in ('one', 'two'):
        log(tmp_path / run, 't', step(1, 5.0, **drift), {'step': 1, 'a $x^{2$': 0.5})
    command('curves', 'one', 'two', '--metric', 'a $x^{2$')
    drawn = re.findall('<!-- (.*?) -->', Path('curves.svg').read_text())
    assert {'a $x^{2$', 'centre', 'size'} <= set(drawn)
    assert [drawn.count(name) for name in ('centre', 'size')] == [1, 1]
