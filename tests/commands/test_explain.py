"""``mmdet-dab explain``: what the page holds, and what is said of bad input."""

from __future__ import annotations

import json
import re
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
    truth = json.loads((task.data_root / 'annotations/all.json').read_text())
    truth['categories'][1]['name'] = 'zebra'
    (tmp_path / 'zebra.json').write_text(json.dumps(truth))
    truth['images'][1]['file_name'] = 'another.png'
    (tmp_path / 'other.json').write_text(json.dumps(truth))
    files = dict(other='other.json', zebra='zebra.json', weights=weights)
    given = [text.format(**files) for text in arguments]
    assert said in command.error('explain', task.data_root / 'images/1.png', task.config, weights, *given)
    assert not (tmp_path / 'page.html').exists()


def test_a_file_that_is_no_image_is_refused(command: Commands, task: Task, weights: Path, tmp_path: Path):
    (tmp_path / 'words.png').write_text('no image')
    assert 'words.png' in command.error('explain', 'words.png', task.config, weights)
