"""YOLO's text files: numbers by hand, pairs of files, names of classes, encodings."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.yolo import read_yolo
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn, found, yolo

SQUARE, BAR = [4, 6, 16, 16], [30, 20, 28, 8]


def test_by_hand(drawn: Drawn):
    """Centres and sizes in fractions of 64 × 48 pixels; an outline becomes its box; no file is no object."""
    folder = yolo(drawn)
    (folder / '0.txt').write_text('1 0.25 0.25 0.5 0.25 0.5 0.75 0.3 0.5\n\n')
    (folder / '1.txt').write_text('')
    (folder / '2.txt').unlink()
    data = read_yolo(folder, ImageFolder(drawn.images), None)
    objects = found(data)
    (outline,) = objects.pop('0.png')
    assert outline == ('bar', pytest.approx([16, 12, 16, 24]), 0)
    assert objects.pop('1.png') == objects.pop('2.png') == []
    for square, bar in objects.values():
        assert (square[0], bar[0]) == ('square', 'bar')
        np.testing.assert_allclose([square[1], bar[1]], [SQUARE, BAR], atol=1e-9)
    assert len(objects) == 5
    assert data.place(0) == '0.txt, line 1'
    assert any('1 outline ' in line for line in data.changes)
    assert any('1 image ' in line for line in data.changes)


def test_images_of_another_split_are_not_background(drawn: Drawn):
    folder = yolo(drawn)
    (folder / '2.txt').unlink()
    data = read_yolo(folder, ImageFolder(drawn.images), None, every_image=False)
    assert '2.png' not in found(data)
    assert len(data.images) == 7


def test_a_text_file_without_its_image(drawn: Drawn):
    folder = yolo(drawn)
    (folder / 'other.txt').write_text('0 0.5 0.5 0.2 0.1')
    data = read_yolo(folder, ImageFolder(drawn.images), None)
    assert data.images[-1] == dict(id=9, file_name='other', width=0, height=0)


def test_leftovers_are_passed_over(drawn: Drawn):
    folder = yolo(drawn)
    for name in ('._0.txt', '.DS_Store', 'Thumbs.db', 'desktop.ini', 'README.roboflow.txt', 'train.txt'):
        (folder / name).write_bytes(b'\0\5\xff Mac OS X')
        (drawn.images / name).write_bytes(b'\0\5\xff Mac OS X')
    (drawn.images / '._0.png').write_bytes(b'\0\5\xff Mac OS X')
    (drawn.folder / '._data.yaml').write_bytes(b'\0\5\xff Mac OS X')
    (folder / '__MACOSX').mkdir()
    (folder / '__MACOSX' / '1.txt').write_text('no label')
    os.mkfifo(drawn.images / 'pipe.png')
    os.mkfifo(folder / 'pipe.txt')
    os.mkfifo(drawn.folder / 'classes.txt')
    data = read_yolo(folder, ImageFolder(drawn.images), None)
    assert (len(data.images), len(data.objects)) == (8, 16)


def test_images_of_the_same_name_in_folders(drawn: Drawn):
    """Of two folders with the same names, one has labels: the other one's images have no objects."""
    for name in ('with', 'without'):
        (drawn.images / name).mkdir()
        for image in drawn.content['images']:
            (drawn.images / name / image['file_name']).write_bytes((drawn.images / image['file_name']).read_bytes())
    for image in drawn.content['images']:
        (drawn.images / image['file_name']).unlink()
    folder = yolo(drawn)
    with pytest.raises(DataError, match=r'0\.txt: it may be of with/0\.png, without/0\.png'):
        read_yolo(folder, ImageFolder(drawn.images), None)
    (folder / 'with').mkdir()
    for path in sorted(folder.glob('*.txt')):
        path.rename(folder / 'with' / path.name)
    for labels in (folder, folder / 'with'):
        objects = found(read_yolo(labels, ImageFolder(drawn.images), None))
        assert {name: len(boxes) for name, boxes in objects.items()} == {
            f'{part}/{number}.png': 2 * (part == 'with') for part in ('with', 'without') for number in range(8)
        }


def test_several_text_files_of_one_image(drawn: Drawn):
    folder = yolo(drawn)
    (folder / 'a').mkdir()
    (folder / 'a' / '0.txt').write_text('')
    with pytest.raises(DataError, match=r'0\.png: several files'):
        read_yolo(folder, ImageFolder(drawn.images), None)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_marked_encodings(drawn: Drawn, encoding: str):
    folder = yolo(drawn, names=None)
    (drawn.folder / 'classes.txt').write_bytes('square\r\n大\r\n'.encode(encoding))
    for path in folder.glob('*.txt'):
        path.write_bytes(path.read_text().replace('\n', '\r\n').encode(encoding))
    assert read_yolo(folder, ImageFolder(drawn.images), None).names() == ['square', '大']
    (drawn.folder / 'classes.txt').unlink()
    (drawn.folder / 'data.yaml').write_bytes('names:\n- square\n- 大\n'.encode(encoding))
    data = read_yolo(folder, ImageFolder(drawn.images), None)
    assert data.names() == ['square', '大']
    assert len(data.objects) == 16


@pytest.mark.parametrize('name', ['labels/3.txt', 'data.yaml', 'classes.txt'])
def test_other_encodings_are_refused_by_file(drawn: Drawn, name: str):
    folder = yolo(drawn)
    if name == 'classes.txt':
        (drawn.folder / 'data.yaml').unlink()
    (drawn.folder / name).write_bytes('names: [大, 小]'.encode('gbk'))
    with pytest.raises(DataError, match=f'{os.path.basename(name)}: .* Save it as UTF-8'):
        read_yolo(folder, ImageFolder(drawn.images), None)


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ('0 0.5 0.5 0.2', ['3.txt, line 1', '4 numbers']),
        ('1 0.5 0.5 0.2 0.1\n0 0.5 0.5 0.2 0.1 0.9', ['3.txt, line 2', '6 numbers', 'confidence']),
        ('2 0.5 0.5 0.2 0.1', ['3.txt, line 1', 'class 2', 'square, bar']),
        ('-1 0.5 0.5 0.2 0.1', ['3.txt, line 1', 'class -1']),
        ('0.5 0.5 0.5 0.2 0.1', ['3.txt, line 1', 'class 0.5']),
        ('bar 0.5 0.5 0.2 0.1', ['3.txt, line 1', 'not a number']),
        ('nan 0.5 0.5 0.2 0.1', ['3.txt, line 1', 'not a number']),
        ('0 inf 0.5 0.2 0.1', ['3.txt, line 1', 'not a number']),
    ],
)
def test_an_error_of_a_file(drawn: Drawn, lines: str, words: list[str]):
    folder = yolo(drawn)
    (folder / '3.txt').write_text(lines)
    with pytest.raises(DataError) as refused:
        read_yolo(folder, ImageFolder(drawn.images), None)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ('file', 'text', 'names'),
    [
        ('labels/classes.txt', 'square\nbar\n\n', ['square', 'bar']),
        ('obj.names', 'square\nbar', ['square', 'bar']),
        ('data.yml', 'names: [square, bar]', ['square', 'bar']),
        ('data.yaml', 'names: {1: bar, 0: square}', ['square', 'bar']),
        ('data.yaml', "names: [no, 007, '1.50', null]", ['no', '007', '1.50', 'null']),
    ],
)
def test_names_of_the_classes_as_they_are_written(drawn: Drawn, file: str, text: str, names: list[str]):
    folder = yolo(drawn, names=None)
    (drawn.folder / file).write_text(text)
    assert read_yolo(folder, ImageFolder(drawn.images), None).names() == names


@pytest.mark.parametrize(
    ('text', 'classes', 'words'),
    [
        (None, None, ['--classes']),
        ('names: {0: square, 1: bar}', ('bar', 'square'), ['--classes bar square', 'data.yaml', 'square, bar']),
        ('names: {1: square, 2: bar}', None, ['data.yaml', '1, 2', 'from 0']),
        ('names: [a', None, ['data.yaml', 'YAML']),
        ('names: [[square], bar]', None, ['data.yaml', 'names']),
        ('a: &a [x]\nb: &b [*a, *a]\nnames: [*b, *b]', None, ['data.yaml', 'names']),
    ],
)
def test_names_are_needed_and_no_others(
    drawn: Drawn, text: str | None, classes: tuple[str, ...] | None, words: list[str]
):
    folder = yolo(drawn, names=text)
    with pytest.raises(DataError) as refused:
        read_yolo(folder, ImageFolder(drawn.images), classes)
    assert all(word in str(refused.value) for word in words), refused.value
