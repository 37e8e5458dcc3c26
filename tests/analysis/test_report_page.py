"""The report as people get it: its files, what they load, names full of markup, and bad input."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmdet_dab.analysis.report.images import folder_loader
from tests.helpers.commands import Commands
from tests.helpers.detections import annotated, disturbed

MARKUP = '<img src=x onerror=alert(1)>|`*_[a](http://b.c)\n"\'&amp;'


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capfd)


@pytest.fixture
def report(command: Commands, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Writes the files, and reports of them."""

    def write(content: Any, found: Any, *options: object) -> tuple[str, str]:
        for name, value in (('truth.json', content), ('found.json', found)):
            (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
        command('report', 'found.json', '--annotations', 'truth.json', *options)
        return (tmp_path / 'report/report.html').read_text(), (tmp_path / 'report/report.md').read_text()

    return write


class Page(HTMLParser):
    """Elements, what they load, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words = ''
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or '' for name, value in attrs if name in ('src', 'href', 'data', 'action', 'srcset')]
        self.handlers += [name for name, _ in attrs if name.startswith('on')]

    def handle_data(self, data: str) -> None:
        self.words += data


def images(folder: Path, content: dict[str, Any], number: int | None = None) -> Path:
    folder.mkdir()
    for image in content['images'][:number]:
        Image.new('RGB', (image['width'], image['height']), (90, 120, 60)).save(folder / image['file_name'])
    return folder


def test_page_is_one_file_that_loads_nothing(report, tmp_path: Path):
    content = annotated(0)
    page, text = report(content, disturbed(content, 5), '--images', images(tmp_path / 'images', content))
    parsed = Page(page)
    assert all(load.startswith(('data:image/jpeg', '#')) for load in parsed.loads)
    assert not {'script', 'link', 'iframe', 'object'} & set(parsed.tags)
    assert "default-src 'none'" in page
    assert 'url(' not in page
    assert parsed.tags.count('img') >= 8
    assert len(page) < 3_000_000
    for target in re.findall(r'!\[[^\]]*\]\(([^)]*)\)', text):
        assert (tmp_path / 'report' / target).is_file()
    assert text.count('.jpg)') == parsed.tags.count('img')
    assert text.count('.svg)') == 4
    for chart in (tmp_path / 'report/charts').iterdir():
        # Without a size of its own an image of Markdown is as wide as the text.
        assert re.search(r'^<svg [^>]*width="340" height="2\d\d"', chart.read_text())


def test_first_paragraph_has_the_figures_that_matter(report):
    content = annotated(0)
    page, text = report(content, disturbed(content, 5))
    paragraph = re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL)[1]
    assert re.search(r'AP is 0\.\d{3}', paragraph)
    for word in ('(Miss)', 'points', 'threshold of 0.', 'worst class is class '):
        assert word in paragraph
    assert 'threshold of 0.' in text


def test_names_with_markup_stay_names(report, tmp_path: Path):
    content = annotated(0)
    content['categories'][0]['name'] = MARKUP
    content['images'][3]['file_name'] = '<b>3.jpg'
    page, text = report(
        content, disturbed(content, 5), '--images', images(tmp_path / 'a<i>', content), '--title', MARKUP
    )
    parsed = Page(page)
    assert not {'b', 'script'} & set(parsed.tags)
    assert all(load.startswith(('data:image/jpeg', '#')) for load in parsed.loads)
    assert not parsed.handlers
    assert '<img src=x onerror=alert(1)>|`*_[a](http://b.c) "\'&amp;' in parsed.words
    assert '<img' not in text
    assert '[a](' not in text
    rows = [line for line in text.splitlines() if 'onerror' in line and line.startswith('|')]
    assert rows
    assert all(re.match(r'\| &lt;img src=x onerror=alert\(1\)&gt;\\\|', row) for row in rows[:1])


def test_a_thousand_classes_make_a_page_that_can_be_read(report):
    content = annotated(3, classes=1000, images=15)
    page, _ = report(content, disturbed(content, 5))
    matrix = page[page.index('<table class="matrix">') :]
    assert matrix[: matrix.index('</table>')].count('<tr>') <= 20
    outside = re.sub(r'<details.*?</details>', '', page, flags=re.DOTALL)
    assert outside.count('<tr') < 120
    assert page.count('<svg') < 30


def test_without_images_it_warns_and_has_no_gallery(report, command: Commands, tmp_path: Path):
    content = annotated(0)
    _, text = report(content, disturbed(content, 5))
    assert 'gallery/' not in text
    (tmp_path / 'empty').mkdir()
    output = command('report', 'found.json', '--annotations', 'truth.json', '--images', 'empty')
    assert 'warning: empty' in output
    assert '<img' not in (tmp_path / 'report/report.html').read_text()
    line = command.error('report', 'found.json', '--annotations', 'truth.json', '--images', 'gone')
    assert '--images gone' in line


def test_images_that_are_missing_are_left_out(report, command: Commands, tmp_path: Path):
    content = annotated(0)
    folder = images(tmp_path / 'images', content, 20)
    report(content, disturbed(content, 5))
    output = command('report', 'found.json', '--annotations', 'truth.json', '--images', folder)
    assert '10 images cannot be read' in output
    assert '<img' in (tmp_path / 'report/report.html').read_text()


def test_images_that_cannot_be_decoded_are_left_out(report, tmp_path: Path):
    """Their headers are whole: what is wrong comes to light when the galleries are drawn."""
    content = annotated(0)
    folder = tmp_path / 'images'
    folder.mkdir()
    for image in content['images']:
        image['file_name'] = image['file_name'].replace('.jpg', '.bmp')
        Image.new('RGB', (image['width'], image['height'])).save(folder / image['file_name'])
    for image in content['images'][:15]:
        path = folder / image['file_name']
        path.write_bytes(path.read_bytes()[:1000])
    page, _ = report(content, disturbed(content, 5), '--images', folder)
    assert 0 < page.count('<img') < 96


def test_deep_images_are_shown_as_a_detector_gets_them(tmp_path: Path):
    """Of 16 bits: by their higher byte."""
    Image.fromarray(np.full((4, 4), 0x5000, dtype=np.uint16)).save(tmp_path / 'deep.png')
    load = folder_loader(tmp_path, [dict(file_name='deep.png')])
    assert np.asarray(load(0)).tolist() == [[[0x50] * 3] * 4] * 4


def test_files_of_others_stay(report, command: Commands, tmp_path: Path):
    """Where the folder holds more than a report, only the files of an older report are replaced."""
    content = annotated(0)
    folder = images(tmp_path / 'images', content)
    report(content, disturbed(content, 5), '--images', folder)
    kept = [
        tmp_path / 'report' / name for name in ('gallery/mine.jpg', 'charts/mine.svg', 'gallery/misses_detected.jpg')
    ]
    for path in kept:
        path.write_text('mine')
    assert (tmp_path / 'report/gallery/misses_0_detected.jpg').is_file()
    report(content, [], '--images', folder)
    assert not (tmp_path / 'report/gallery/false_alarms_0_detected.jpg').exists()
    assert [path.read_text() for path in kept] == ['mine'] * 3
    report(content, [])
    assert sorted((tmp_path / 'report/gallery').iterdir()) == sorted(kept[::2])


@pytest.mark.parametrize('name', ['gallery', 'charts'])
def test_folder_that_cannot_be_used_is_refused_before_work_starts(command: Commands, tmp_path: Path, name: str):
    (tmp_path / 'truth.json').write_text(json.dumps(annotated(0)))
    (tmp_path / 'found.json').write_text('[]')
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / name).touch()
    line = command.error('report', 'found.json', '--annotations', 'truth.json')
    assert f'report/{name}: no folder' in line


def test_no_detection_is_a_result_too(report, tmp_path: Path):
    content = annotated(0)
    page, text = report(content, [], '--images', images(tmp_path / 'images', content))
    assert page.count('No detection fits') == 12
    assert 'AP is 0.000' in page
    assert 'no detection at all' in page
    assert 'nan' not in Page(page).words.lower()
    assert 'nan' not in text.lower()


def test_nothing_right_is_said(report):
    content = annotated(0)
    found = [dict(one, bbox=[600, 440, 2, 2]) for one in disturbed(content, 5)]
    page, _ = report(content, found)
    assert 'No detection is right' in page
    assert 'nan' not in Page(page).words.lower()


def test_neither_torch_nor_mmdet_is_imported(report, monkeypatch: pytest.MonkeyPatch):
    for name in ('torch', 'mmdet', 'mmengine', 'mmcv'):
        monkeypatch.setitem(sys.modules, name, None)
    content = annotated(0)
    report(content, disturbed(content, 5))


def changed(**fields: Any) -> Callable[[list], Any]:
    def change(found: list) -> Any:
        found[3] = {key: value for key, value in dict(found[3], **fields).items() if value is not ...}
        return found

    return change


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda found: json.dumps(found)[:-30], ['found.json', 'cut off']),
        (lambda found: dict(annotations=found), ['found.json', 'annotation file']),
        (lambda found: dict(a=1), ['found.json', 'list']),
        (lambda found: [*found, 3], ['found.json', f'entry {len(disturbed(annotated(0), 5))}']),
        (changed(image_id=1000), ['found.json', '1 of', '1000', 'truth.json']),
        (changed(image_id=[1]), ['found.json', 'truth.json']),
        (lambda found: [dict(one, image_id=one['image_id'] + 5000) for one in found], ['truth.json', 'lacks']),
        (changed(category_id=99), ['found.json', '99', "2 ('class 0')".replace("'", '')]),
        (lambda found: [dict(one, category_id=one['category_id'] // 5) for one in found], ['counted from 0', 'labels']),
        (changed(bbox=[1, 2, float('nan'), 3]), ['found.json', "'bbox'", 'entry 3', 'nan']),
        (changed(bbox=[1, 2, 3]), ["'bbox'", 'entry 3']),
        (changed(bbox=[9, 9, 5, -2]), ["'bbox'", 'entry 3', '-2', 'negative']),
        (changed(bbox=...), ['entry 3', 'bbox']),
        (changed(score=87), ["'score'", 'entry 3', '87', '0 to 1']),
        (changed(score=float('nan')), ["'score'", 'entry 3']),
        (changed(score='0.5'), ["'score'", 'entry 3']),
    ],
)
def test_bad_results_are_refused(report, command: Commands, tmp_path: Path, change, words: list[str]):
    content = annotated(0)
    found = change(disturbed(content, 5))
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    (tmp_path / 'found.json').write_text(found if isinstance(found, str) else json.dumps(found))
    line = command.error('report', 'found.json', '--annotations', 'truth.json')
    for word in words:
        assert word in line
    assert not (tmp_path / 'report').exists()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda content: content.update(annotations=[]), ['no object', 'class 0']),
        (lambda content: [item.update(iscrowd=1) for item in content['annotations']], ['no object']),
        (lambda content: content.update(categories=[]), ['no object']),
        (lambda content: content['annotations'][2].update(bbox=[1, 2, float('nan'), 3]), ["'bbox'", 'annotation 3']),
        (lambda content: content['images'].append(dict(content['images'][0])), ['id 7', 'twice']),
        (lambda content: content.pop('images'), ['images']),
    ],
)
def test_bad_annotations_are_refused(command: Commands, tmp_path: Path, change, words: list[str]):
    content = annotated(0)
    found = disturbed(content, 5)
    change(content)
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    (tmp_path / 'found.json').write_text(json.dumps(found))
    line = command.error('report', 'found.json', '--annotations', 'truth.json')
    for word in ['truth.json', *words]:
        assert word in line


def test_missing_files_are_named(command: Commands, tmp_path: Path):
    assert 'gone.json' in command.error('report', 'found.json', '--annotations', 'gone.json')
    (tmp_path / 'truth.json').write_text(json.dumps(annotated(0)))
    assert 'found.json' in command.error('report', 'found.json', '--annotations', 'truth.json')
    (tmp_path / 'found.json').write_text('[]')
    assert 'it is a folder' in command.error('report', '.', '--annotations', 'truth.json')
    line = command.error('report', 'found.json', '--annotations', 'truth.json', '--out', 'truth.json')
    assert 'truth.json: no folder' in line


def test_ids_of_text_are_understood(report):
    """The annotations are completed as training data are; results go on naming the ids of the file."""
    content = annotated(0)
    found = disturbed(content, 5)
    for item in [*content['annotations'], *found]:
        item['image_id'] = f'image {item["image_id"]}'
    for image in content['images']:
        image['id'] = f'image {image["id"]}'
    page, _ = report(content, found)
    plain, _ = report(annotated(0), disturbed(annotated(0), 5))
    figures = re.compile(r'<dd>([^<]*)</dd>')
    assert figures.findall(page) == figures.findall(plain)
