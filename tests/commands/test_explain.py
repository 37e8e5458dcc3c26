"""``mmdet-dab explain``: what the page holds, and what is said of bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.commands import Commands
from tests.helpers.tiny_task import CLASSES, Task


def content(page: Path) -> dict:
    return json.loads(re.search('id="data">(.*?)</script>', page.read_text(encoding='utf-8')).group(1))


def test_a_page_of_two_detectors_with_ground_truth(command: Commands, task: Task, weights: Path, tmp_path: Path):
    images = [task.data_root / 'images/1.png', task.data_root / 'images/2.png']
    printed = command(
        *('explain', *images, task.config, weights, '--out', 'page.html', '--compare', task.config, weights),
        *('--annotations', task.data_root / 'annotations/all.json', '--threshold', 0.9),
    )
    assert 'page.html' in printed
    page = content(tmp_path / 'page.html')
    assert [image['name'] for image in page['images']] == ['1.png', '2.png']
    (bar,) = page['images'][0]['objects']
    assert bar['name'] == 'bar'
    assert bar['box'] == pytest.approx([30 / 64, 24 / 64, 40 / 64, 8 / 64], abs=1e-6)
    assert len(page['models']) == len(page['runs']) == 2
    assert page['models'][0]['classes'] == list(CLASSES)
    assert page['models'][0]['name'] != page['images'][0]['name']
    for run in page['runs'][0]:
        assert len(run['queries']) == 10
        assert run['matched']
        assert '0.9' in run['note']
        assert run['shown'] == []


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--out', 'page.png'], 'page.png'),
        (['--out', 'nowhere/page.html'], 'nowhere'),
        (['--out', 'folder.html'], 'folder.html: it is a folder'),
        (['--out', 'notes.html'], 'notes.html: this file is no page of this command'),
        (['--out', f'{"x" * 300}.html'], 'cannot be written'),
        (['--annotations', 'none.json'], 'none.json'),
        (['--annotations', '{other}'], 'does not list 1.png'),
        (['--annotations', '{zebra}'], "'zebra' is no class"),
        (['--queries', '10'], 'query 10: the model has 10 queries'),
        (['--compare', 'no_such_config', '{weights}'], 'no_such_config'),
    ],
)
def test_bad_input_is_refused(
    command: Commands, task: Task, weights: Path, tmp_path: Path, arguments: list[str], said: str
):
    (tmp_path / 'folder.html').mkdir()
    (tmp_path / 'notes.html').write_text('<h1>My notes</h1>')
    truth = json.loads((task.data_root / 'annotations/all.json').read_text())
    truth['categories'][1]['name'] = 'zebra'
    (tmp_path / 'zebra.json').write_text(json.dumps(truth))
    truth['images'][1]['file_name'] = 'another.png'
    (tmp_path / 'other.json').write_text(json.dumps(truth))
    files = dict(other='other.json', zebra='zebra.json', weights=weights)
    given = [text.format(**files) for text in arguments]
    assert said in command.error('explain', task.data_root / 'images/1.png', task.config, weights, *given)
    assert not (tmp_path / 'page.html').exists()
    assert (tmp_path / 'notes.html').read_text() == '<h1>My notes</h1>'


def test_a_page_replaces_an_older_one_and_tells_checkpoints_apart(
    command: Commands, task: Task, weights: Path, tmp_path: Path
):
    checkpoints = [tmp_path / name / 'best.pth' for name in ('one', 'two')]
    for file in checkpoints:
        file.parent.mkdir()
        shutil.copy(weights, file)
    for _ in range(2):
        image = task.data_root / 'images/1.png'
        command(
            'explain',
            image,
            task.config,
            checkpoints[0],
            '--out',
            'page.html',
            '--compare',
            task.config,
            checkpoints[1],
        )
    names = [model['name'] for model in content(tmp_path / 'page.html')['models']]
    assert [name.rpartition(' · ')[2] for name in names] == ['one/best.pth', 'two/best.pth']


def test_a_file_that_is_no_image_is_refused(command: Commands, task: Task, weights: Path, tmp_path: Path):
    (tmp_path / 'words.png').write_text('no image')
    assert 'words.png' in command.error('explain', 'words.png', task.config, weights)
