"""COCO's files: what is completed, what is refused, and that both tools judge alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmdet_dab.data.coco import check_usable, complete, read_coco
from mmdet_dab.data.formats import read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn

Content = dict[str, Any]


def items(**values: Any) -> Callable[[Content], None]:
    """Set values in all annotations; a function makes them from the annotation."""

    def change(content: Content) -> None:
        for item in content['annotations']:
            item.update({key: value(item) if callable(value) else value for key, value in values.items()})

    return change


def all_of(*changes: Callable[[Content], None]) -> Callable[[Content], None]:
    return lambda content: [change(content) for change in changes] and None


def ids(key: str, function: Callable[[int], Any], *, lists: bool = True, references: bool = True):
    """Change the ids of images or categories, where they are listed, referred to, or both."""

    def change(content: Content) -> None:
        name = 'image_id' if key == 'images' else 'category_id'
        for entry in content[key] if lists else ():
            entry['id'] = function(entry['id'])
        for item in content['annotations'] if references else ():
            item[name] = function(item[name])

    return change


def sizes(width: Any, height: Any) -> Callable[[Content], None]:
    return lambda content: [image.update(width=width, height=height) for image in content['images']] and None


@pytest.mark.parametrize(
    'change',
    [
        items(area=[0]),
        items(area=lambda item: [item['area']]),
        items(area=lambda item: {'value': item['area']}),
        items(area=lambda item: str(item['area'])),
        items(area='large'),
        items(area=0),
        items(area=-1.5),
        items(area=10**400),
        items(area='1' + '0' * 400),
        items(area=math.nan),
        items(area=True),
        items(area=None),
        items(bbox=lambda item: [str(value) for value in item['bbox']]),
        items(bbox=lambda item: [f' {value}.0 ' for value in item['bbox']]),
        items(id=lambda item: f'a{item["id"]}'),
        items(id=lambda item: str(item['id'])),
        items(id=None),
        items(id=lambda item: item['id'] + 0.5),
        items(iscrowd='0'),
        items(iscrowd='false'),
        items(iscrowd=None),
        items(iscrowd=False),
        items(ignore='0'),
        ids('images', lambda value: f'img_{value}'),
        ids('images', str),
        ids('images', str, references=False),
        ids('images', str, lists=False),
        ids('images', float),
        ids('images', lambda value: value + 2**70),
        ids('images', lambda value: f'{value}e300'),
        ids('categories', lambda value: f'class {value}'),
        ids('categories', str),
        ids('categories', str, references=False),
        ids('categories', str, lists=False),
        sizes('64', '48'),
        sizes(0, 0),
        sizes(None, None),
        sizes(math.nan, 48),
        sizes('wide', 48),
        all_of(items(area='0', iscrowd='0', id=None), ids('images', str), sizes('64', 48)),
    ],
)
def test_what_tools_write_otherwise_is_completed(drawn: Drawn, change: Callable[[Content], Any]):
    """The result is as if the file had been right, says that it was changed, and is right when written."""
    data = read(drawn.coco(change=change), 'coco', ImageFolder(drawn.images), None)
    assert data.changes
    for read_items, right in ((data.objects, drawn.content['annotations']), (data.images, drawn.content['images'])):
        for one, other in zip(read_items, right, strict=True):
            wanted = {key: value for key, value in other.items() if not key.endswith('id')}
            assert {key: pytest.approx(one[key]) if key == 'bbox' else one[key] for key in wanted} == wanted
    assert [item['id'] for item in data.objects] == list(range(1, 17))
    assert data.image_index.tolist() == [row // 2 for row in range(16)]
    assert data.labels(('square', 'bar')).tolist() == [0, 1] * 8
    data.write(drawn.folder / 'clean.json')
    clean = read_coco(drawn.folder / 'clean.json')
    check_usable(clean, training=True)
    check_usable(clean, training=False)
    assert not complete(clean, lambda name: None).changes


def test_a_sound_file_is_used_as_it_is(drawn: Drawn):
    assert not read(drawn.coco(), 'coco', ImageFolder(drawn.images), None).changes


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32'])
def test_other_encodings_get_a_clean_copy_and_are_refused_in_training(drawn: Drawn, encoding: str):
    path = drawn.folder / 'all.json'
    path.write_bytes(json.dumps(drawn.content).encode(encoding))
    assert 'encoding' in read(path, 'coco', ImageFolder(drawn.images), None).changes[0]
    with pytest.raises(DataError, match=r'all\.json: .*new-data'):
        check_usable(read_coco(path), training=True)


def test_boxes_from_outlines(drawn: Drawn):
    """Two polygons, from (4, 6) to (20, 22) together; run-length codes have no corners to read."""
    outline = [[4, 6, 10, 6, 10, 22], [12, 8, 20, 8, 20, 20]]
    path = drawn.coco(change=items(bbox=[], segmentation=outline))
    data = read(path, 'coco', ImageFolder(drawn.images), None)
    assert data.boxes[0].tolist() == [4, 6, 16, 16]
    assert 'segmentation' not in data.objects[0]
    path = drawn.coco(change=items(bbox=None, segmentation=dict(counts=[1, 2], size=[48, 64])))
    assert read(path, 'coco', ImageFolder(drawn.images), None).objects[0]['bbox'] is None


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (items(area=[0]), ["'area'", 'id 1', '[0]']),
        (items(area='400'), ["'area'", 'id 1', "'400'"]),
        (items(id=lambda item: f'a{item["id"]}'), ["'id'", "'a1'", '16 of 16 annotations']),
        (items(iscrowd='0'), ["'iscrowd'", "'0'"]),
        (items(ignore='no'), ["'ignore'", "'no'"]),
        (ids('images', str), ["'id'", '8 of 8 images', "'1'"]),
        (ids('categories', str), ["'id'", '2 of 2 categories', "'1'"]),
        (ids('images', str, lists=False), ["'image_id'", "'1'"]),
        (sizes('64', 48), ["'width'", "'64'"]),
        (sizes(64, 0), ["'height'", '8 of 8 images']),
        (sizes(64, None), ["'height'", 'None']),
    ],
)
def test_a_training_run_refuses_them_by_file_and_id(drawn: Drawn, change: Callable[[Content], Any], words: list[str]):
    with pytest.raises(DataError, match='new-data') as refused:
        check_usable(read_coco(drawn.coco(change=change)), training=True)
    assert all(word in str(refused.value) for word in ['all.json', *words]), refused.value


def test_a_crowd_flag_is_needed_where_it_is_evaluated(drawn: Drawn):
    data = read_coco(drawn.coco(change=lambda content: content['annotations'][3].pop('iscrowd')))
    check_usable(data, training=True)
    with pytest.raises(DataError, match=r"'iscrowd' of 1 of 16 annotations; of id 4"):
        check_usable(data, training=False)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda content: content['images'][0].pop('file_name'), ["entry 0 of 'images' (id 1) has no 'file_name'"]),
        (lambda content: content['images'][2].update(file_name=5), ["'file_name'", 'id 3', '5']),
        (lambda content: content['images'][2].update(file_name='a\0b'), ["'file_name'", 'id 3']),
        (lambda content: content['images'][1].update(id=[2]), ["'id' of entry 1 of 'images'", '[2]']),
        (lambda content: content['images'][1].update(id=True), ["'id' of entry 1 of 'images'", 'True']),
        (lambda content: content['images'][1].update(id=math.nan), ["'id' of entry 1 of 'images'", 'nan']),
        (lambda content: content['annotations'][1].update(image_id={}), ["'image_id'", '(id 2)']),
        (lambda content: content['annotations'].append(3), ["entry 16 of 'annotations'", '3']),
        (lambda content: content['categories'][1].update(name=7), ["'name'", 'id 2', '7']),
        (lambda content: content.pop('categories'), ['no list of categories']),
        (items(iscrowd='perhaps'), ["'iscrowd' of annotation 1", "'perhaps'"]),
        (items(iscrowd=2), ["'iscrowd' of annotation 1", '2']),
    ],
)
def test_what_nothing_can_complete_is_refused(drawn: Drawn, change: Callable[[Content], Any], words: list[str]):
    with pytest.raises(DataError) as refused:
        read(drawn.coco(change=change), 'coco', ImageFolder(drawn.images), None)
    assert all(word in str(refused.value) for word in ['all.json', *words]), refused.value


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'{', 'JSON'),
        (b'', 'JSON'),
        (b'[' * 100_000, 'JSON'),
        (b'[1' + b'0' * 5000 + b']', 'JSON'),
        ('{"images": ["大"]}'.encode('gbk'), 'UTF-8'),
        (b'[]', 'it is a list'),
        (b'{"shapes": []}', 'LabelMe'),
        (b'{"images": {}, "annotations": [], "categories": []}', 'no list of images'),
    ],
)
def test_what_is_no_annotation_file(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'a\.json: ') as refused:
        read_coco(path)
    assert words.lower() in str(refused.value).lower()


@pytest.mark.parametrize('orphan', ['5', 5, 5.0, 0.5, 'img_99', '99', 99])
@pytest.mark.parametrize('texts', [False, True])
def test_what_refers_to_nothing_never_finds_an_image(drawn: Drawn, orphan: Any, texts: bool):
    """Also where images are numbered anew; a training run does not refuse what is written then."""

    def change(content: Content) -> None:
        content['images'].pop(4)
        content['annotations'] = [item for item in content['annotations'] if item['image_id'] != 5]
        if texts:
            ids('images', lambda value: f'img_{value}')(content)
        content['annotations'][0]['image_id'] = orphan

    data = read(drawn.coco(change=change), 'coco', ImageFolder(drawn.images), None)
    assert (data.image_index < 0).tolist() == [True] + [False] * 13
    data.write(drawn.folder / 'clean.json')
    check_usable(read_coco(drawn.folder / 'clean.json'), training=False)
