"""Each fault of a data set is found, named with file and id, and stops what would cost AP in silence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_dab.data import new_dataset
from mmdet_dab.data.new_dataset import make
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn, draw, voc, yolo

Content = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_sheet(monkeypatch: pytest.MonkeyPatch):
    """It is looked at in test_making.py."""
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)


def complaint(drawn: Drawn, annotations: Path, **options: Any) -> str:
    """The sentence with which the data set is refused; nothing is written then."""
    with pytest.raises(DataError) as refused:
        make(drawn.request(annotations, **options))
    assert not (drawn.folder / 'mine').exists()
    return str(refused.value)


def all_boxes(function: Callable[[list[float]], list[float]]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for item in content['annotations']:
            item['bbox'] = function(item['bbox'])

    return change


def image(row: int, **values: Any) -> Callable[[Content], None]:
    return lambda content: content['images'][row].update(values)


def item(row: int, **values: Any) -> Callable[[Content], None]:
    return lambda content: content['annotations'][row].update(values)


def category(row: int, **values: Any) -> Callable[[Content], None]:
    return lambda content: content['categories'][row].update(values)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (image(1, id=1), ['all.json', '1 ids of pictures repeat', 'id 1: 0.png, 1.png']),
        (image(1, file_name='0.png'), ['1 pictures are listed more than once', '0.png: ids 1, 2']),
        (item(1, id=1), ['1 ids of annotations repeat', 'id 1: 2 times']),
        (category(1, id=1), ['ids of categories repeat', '1: 2 times']),
        (category(1, name='square'), ['names of categories repeat', "'square': 2 times"]),
        (
            item(3, category_id=9),
            ['1 annotations have a category that is not listed', 'annotation 4 of 1.png: category 9'],
        ),
        (item(2, bbox=[math.nan, 6, 16, 16]), ['not finite', 'annotation 3 of 1.png: nan 6 16 16']),
        (item(2, bbox=[1, 2, 3]), ['bbox of annotation 3 of 1.png is [1, 2, 3]', 'four numbers']),
        (item(2, bbox='1 2 3 4'), ['bbox of annotation 3 of 1.png']),
        (
            all_boxes(lambda b: [b[0] + b[2], b[1], -b[2], b[3]]),
            ['16 of 16 boxes are empty or inverted', 'annotation 1'],
        ),
        (all_boxes(lambda b: [b[0] + 64, *b[1:]]), ['16 of 16 boxes lie outside their picture']),
        (
            all_boxes(lambda b: [b[0] / 64, b[1] / 48, b[2] / 64, b[3] / 48]),
            ['parts of the picture', 'pixels are needed'],
        ),
        (
            all_boxes(lambda b: [b[0] + 20, b[1] + 18, b[0] + 20 + b[2] / 3, b[1] + 18 + b[3] / 3]),
            ['corners x1, y1, x2, y2'],
        ),
        (
            lambda content: [entry.update(image_id=str(entry['image_id'])) for entry in content['annotations']],
            ['16 of 16 annotations are of pictures that are not listed', "picture '1'", 'number or text'],
        ),
        (lambda content: content['annotations'].clear(), ['no object']),
        (image(2, file_name='gone.png'), ['1 of 8 pictures are not in', 'gone.png of id 3']),
        (
            image(2, width=32),
            ['not of the size that the annotations say', '2.png of id 3: 32×48 annotated, 64×48 loaded'],
        ),
        (lambda content: content['images'][0].pop('file_name'), ["entry 0 of 'images' (id 1) has no 'file_name'"]),
        (lambda content: content.pop('categories'), ['it has no list of categories']),
    ],
)
def test_a_fault_of_a_coco_file(drawn: Drawn, change: Callable[[Content], Any], words: list[str]):
    """Training on one file, validating on a sound one: the fault is told with the file that has it."""
    sentence = complaint(drawn, drawn.coco(change=change), val=drawn.coco('sound.json'))
    assert all(word in sentence for word in ('all.json', *words)), sentence
    assert '\n' not in sentence


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            item(2, bbox=[4, 6, 0, 16]),
            '1 of 24 boxes are empty or inverted (w or h not above 0) (annotation 3 of 1.png',
        ),
        (item(2, bbox=[100, 6, 5, 16]), '1 of 24 boxes lie outside their picture'),
        (item(2, bbox=[4, 6, 0.5, 16]), 'less than 1 pixel wide or high (annotation 3 of 1.png: 4 6 0.5 16)'),
        (item(2, area=0), "have an 'area' of 0 in the file"),
        (item(2, bbox=[50, 6, 20, 16]), 'reach more than 2 pixels over the border'),
        (item(2, image_id=77), '1 of 24 annotations are of pictures that are not listed (annotation 3: picture 77)'),
        (item(1, bbox=[4, 6, 16, 16], category_id=1), '1 objects are marked twice'),
    ],
)
def test_what_costs_little_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Content], Any], words: str
):
    """One box in 24 is below the share that stops."""
    drawn = draw(tmp_path / 'more', 12)
    make(drawn.request(drawn.coco(change=change), val=drawn.coco('sound.json')))
    printed = capsys.readouterr().out
    assert f'warning  {drawn.folder}' in printed
    assert words in printed


def test_pictures_that_cannot_be_read(drawn: Drawn):
    (drawn.images / '0.png').write_bytes((drawn.images / '0.png').read_bytes()[:60])
    (drawn.images / '1.png').write_text('no picture')
    Image.new('RGB', (64, 48)).save(drawn.images / '2.png', format='GIF')
    sentence = complaint(drawn, drawn.coco())
    assert '3 pictures cannot be used' in sentence
    assert '2.png of id 3 is GIF, which OpenCV does not read' in sentence


def test_leaving_out_what_is_faulty(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    """A broken picture, one that is gone, and a box that is none, with all that is marked on them."""
    (drawn.images / '0.png').write_bytes(b'')
    (drawn.images / '1.png').unlink()
    annotations = drawn.coco(change=item(4, bbox=[4, 6, -3, 16]))
    assert 'other fault' in complaint(drawn, annotations, val=drawn.coco('sound.json'))
    make(drawn.request(annotations, leave_out=True))
    assert 'left out' in capsys.readouterr().out
    written = [
        json.loads((drawn.folder / f'mine/cells_annotations/{side}.json').read_text()) for side in ('train', 'val')
    ]
    assert sum(len(content['images']) for content in written) == 6
    assert sum(len(content['annotations']) for content in written) == 6 * 2 - 1


@pytest.mark.parametrize(('orientation', 'stops'), [(6, True), (8, True), (3, False), (1, None)])
def test_pictures_that_are_turned_when_they_are_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], orientation: int, stops: bool | None
):
    """EXIF: OpenCV turns a picture that was annotated as it is stored."""
    drawn = draw(tmp_path / 'photos', 8, '.jpg')
    picture = Image.open(drawn.images / '0.jpg')
    exif = Image.Exif()
    exif[274] = orientation
    picture.save(drawn.images / '0.jpg', exif=exif)
    assert cv2.imread(str(drawn.images / '0.jpg')).shape[:2] == ((64, 48) if stops else (48, 64))
    if stops:
        sentence = complaint(drawn, drawn.coco())
        assert 'turned by their EXIF tag' in sentence
        assert '0.jpg of id 1: 64×48 annotated, 48×64 loaded' in sentence
    else:
        make(drawn.request(drawn.coco()))
        assert ('mirrored or turned upside down' in capsys.readouterr().out) == (stops is False)


def test_deep_pictures_are_told_of(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    cv2.imwrite(str(drawn.images / '0.png'), np.full((48, 64), 1000, np.uint16))
    make(drawn.request(drawn.coco()))
    assert '1 pictures have more than 8 bits (0.png of id 1)' in capsys.readouterr().out


def test_pictures_of_the_training_in_validation(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    """Picture 5 is in both lists; picture 7 of validation is a copy of picture 0."""
    (drawn.images / '7.png').write_bytes((drawn.images / '0.png').read_bytes())
    make(drawn.request(drawn.part('train.json', 0, 6), val=drawn.part('val.json', 5, 8)))
    assert '2 of 3 validation pictures are training pictures as well (5.png, 7.png)' in capsys.readouterr().out


def test_pictures_that_nobody_lists(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    make(drawn.request(drawn.part('train.json', 0, 4), val=drawn.part('val.json', 4, 7)))
    assert f'{drawn.images}: 1 of 8 pictures are not listed, and not used (7.png)' in capsys.readouterr().out


def test_annotation_zero_is_told_of_in_validation(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    zero = item(0, id=0)
    make(drawn.request(drawn.part('train.json', 0, 5, zero), val=drawn.part('val.json', 5, 8, zero)))
    lines = [line for line in capsys.readouterr().out.splitlines() if 'takes id 0' in line]
    assert len(lines) == 1
    assert 'val.json' in lines[0]


# --- Classes


def test_a_named_class_that_nobody_has(drawn: Drawn):
    sentence = complaint(drawn, drawn.coco(), classes=('square', 'Bars'))
    assert "no object is called 'Bars' (but 'bar')" in sentence
    assert 'found are square (8), bar (8)' in sentence


def test_classes_in_another_order_are_put_into_that_of_the_file(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    make(drawn.request(drawn.coco(), classes=('bar', 'square')))
    assert 'classes are taken in the order of the file, square, bar' in capsys.readouterr().out
    assert "classes=('square', 'bar')," in (drawn.folder / 'mine/cells.py').read_text()


def test_categories_in_another_order_in_validation(drawn: Drawn):
    """mmdet numbers labels by the file's order, each file for itself: the AP would be that of exchanged classes."""
    val = drawn.part('val.json', 5, 8, lambda content: content['categories'].reverse())
    sentence = complaint(drawn, drawn.part('train.json', 0, 5), val=val)
    assert 'val.json: classes are in the order square, bar, the categories of the file are not' in sentence


def test_other_ids_in_validation_do_no_harm(drawn: Drawn):
    """Labels count in the order of the categories; ids may be any."""

    def renumber(content: Content) -> None:
        for entry in content['categories']:
            entry['id'] += 10
        for entry in content['annotations']:
            entry['category_id'] += 10

    make(drawn.request(drawn.part('train.json', 0, 5), val=drawn.part('val.json', 5, 8, renumber)))
    assert (drawn.folder / 'mine/cells.py').exists()


def test_a_name_that_only_validation_has(drawn: Drawn):
    val = drawn.part('val.json', 5, 8, category(1, name='Bar'))
    sentence = complaint(drawn, drawn.part('train.json', 0, 5), val=val)
    assert "val.json: there is no category 'bar' (but 'Bar')" in sentence


def test_categories_that_are_not_asked_for(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    def add(content: Content) -> None:
        content['categories'].insert(0, dict(id=7, name='things'))

    make(drawn.request(drawn.coco(change=add)))
    assert '1 categories have no object and are left out (things)' in capsys.readouterr().out
    make(drawn.request(drawn.coco(), classes=('bar',), overwrite=True))
    printed = capsys.readouterr().out
    assert 'objects are of categories that are not asked for (square): they count as background' in printed
    assert "classes=('bar',)," in (drawn.folder / 'mine/cells.py').read_text()


def test_one_class_under_two_names(drawn: Drawn):
    folder = voc(drawn)
    file = folder / '3.xml'
    file.write_text(file.read_text().replace('<name>bar</name>', '<name>Bar</name>'))
    assert "differ in case or blanks only ('Bar' and 'bar')" in complaint(drawn, folder)


# --- Formats


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('<annotation>', 'is no XML, or cut off'),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 'declares a DOCTYPE'),
        ('<html/>', 'it starts with <html>'),
        ('<annotation><object/></annotation>', 'object 1 has no <name>'),
        ('<annotation><object><name>bar</name></object></annotation>', 'object 1 has no <bndbox/xmin>'),
        ('<annotation><size><width>wide</width></size></annotation>', 'is no number of pixels'),
    ],
)
def test_a_fault_of_a_voc_file(drawn: Drawn, text: str, words: str):
    folder = voc(drawn)
    (folder / '3.xml').write_text(text)
    sentence = complaint(drawn, folder)
    assert str(folder / '3.xml') in sentence
    assert words in sentence


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ('0 0.5 0.5 0.2', '3.txt, line 1 has 4 numbers'),
        ('1 0.5 0.5 0.2 0.1\n0 0.5 0.5 0.2 0.1 0.9', '3.txt, line 2 has 6 numbers'),
        ('2 0.5 0.5 0.2 0.1', '3.txt, line 1: there is no class 2, the 2 names are square, bar'),
        ('0.5 0.5 0.5 0.2 0.1', 'there is no class 0.5'),
        ('bar 0.5 0.5 0.2 0.1', 'holds what is no number'),
    ],
)
def test_a_fault_of_a_yolo_file(drawn: Drawn, lines: str, words: str):
    folder = yolo(drawn)
    (folder / '3.txt').write_text(lines)
    assert words in complaint(drawn, folder)


def test_pixels_in_yolo_files(drawn: Drawn):
    sentence = complaint(drawn, yolo(drawn, lines='0 30 20 10 10'))
    assert '8 of 8 boxes lie outside their picture (0.txt, line 1' in sentence


def test_yolo_needs_names_and_no_others(drawn: Drawn):
    folder = yolo(drawn, names=None)
    assert 'name the classes in the order of their numbers' in complaint(drawn, folder)
    (drawn.folder / 'data.yaml').write_text('names: {0: square, 1: bar}')
    assert '--classes bar square are not the names in' in complaint(drawn, folder, classes=('bar', 'square'))
    (drawn.folder / 'data.yaml').write_text('names: {1: square, 2: bar}')
    assert 'must count from 0' in complaint(drawn, folder)
    (drawn.folder / 'data.yaml').write_text('names: [a')
    assert 'cannot be read as YAML' in complaint(drawn, folder)


def test_a_text_file_without_its_picture(drawn: Drawn):
    folder = yolo(drawn)
    (folder / 'other.txt').write_text('0 0.5 0.5 0.2 0.1')
    assert '1 of 9 pictures are not in' in complaint(drawn, folder)


def test_what_is_no_data_set(drawn: Drawn):
    empty = drawn.folder / 'empty'
    empty.mkdir()
    assert 'holds neither .json' in complaint(drawn, empty)
    assert 'does not exist' in complaint(drawn, drawn.folder / 'gone')
    drawn.coco('empty/a.json')
    assert 'give the one with the annotations' in complaint(drawn, empty)
    (empty / 'a.xml').write_text('')
    (empty / 'a.txt').write_text('')
    assert 'say by --format' in complaint(drawn, empty)
    listing = drawn.folder / 'list.json'
    listing.write_text('[]')
    assert 'it is a list' in complaint(drawn, listing)
    listing.write_text('{')
    assert 'is no JSON' in complaint(drawn, listing)
    assert 'no folder' in complaint(drawn, drawn.coco(), images=drawn.folder / 'gone')
    assert 'mmengine reads no config with a further dot' in complaint(drawn, drawn.coco(), out=Path('a.b.py'))
    assert 'name it .py' in complaint(drawn, drawn.coco(), out=Path('a.txt'))
    assert '--val-images without --val' in complaint(drawn, drawn.coco(), val_images=drawn.images)


def test_a_folder_too_deep_or_too_high(drawn: Drawn):
    """The names in the file count from the folder above."""
    change = lambda content: [entry.update(file_name=f'images/{entry["file_name"]}') for entry in content['images']]  # noqa: E731
    assert f'they are in {drawn.folder}, give that folder' in complaint(drawn, drawn.coco(change=change))


def test_a_config_is_not_written_over(drawn: Drawn):
    make(drawn.request(drawn.coco()))
    with pytest.raises(DataError, match='exists: name another file, or write over it with --overwrite'):
        make(drawn.request(drawn.coco()))
