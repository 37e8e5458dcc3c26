"""The checks with which a training run of any config starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset

from mmdet_dab.data.checks import config as config_checks
from mmdet_dab.data.checks.config import check_config
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn

MODEL = dict(query_generator=dict(num_queries=10), bbox_head=dict(num_classes=2, selection=dict(max_per_img=10)))


def config(drawn: Drawn, file: str = 'all.json', classes: Any = ('square', 'bar'), **dataset: Any) -> dict[str, Any]:
    """A config of a training run and a validation on one file, as far as the checks read it."""
    if not (drawn.folder / file).exists():
        drawn.coco(file)
    metainfo = {} if classes is None else dict(metainfo=dict(classes=classes))
    one = dict(type='CocoDataset', data_root=f'{drawn.folder}/', ann_file=file, data_prefix=dict(img='images/'))
    loader = dict(dataset={**one, **metainfo, **dataset})
    return dict(
        model=MODEL,
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=dict(ann_file=str(drawn.folder / file)),
    )


def errors(cfg: dict[str, Any]) -> list[str]:
    findings = check_config(cfg, ('train', 'val'))
    assert all(finding.stops for finding in findings), findings
    return [str(finding) for finding in findings]


def test_nothing_is_said_of_a_sound_config(drawn: Drawn):
    assert errors(config(drawn)) == []
    for encoding in ('utf-8', 'utf-16'):
        (drawn.folder / 'names.txt').write_bytes('square\r\nbar\r\n'.encode(encoding))
        assert errors(config(drawn, classes=str(drawn.folder / 'names.txt'))) == []


def test_a_wrong_class_name(drawn: Drawn):
    """mmdet would drop it in silence, and shift the labels behind it."""
    dropped = CocoDataset(
        data_root=str(drawn.folder),
        ann_file=str(drawn.coco()),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('squares', 'bar')),
    )
    assert dropped.cat2label == {2: 0}
    (message,) = errors(config(drawn, classes=('squares', 'bar')))
    assert all(word in message for word in ('all.json', "'squares' (did you mean 'square'?)", 'square, bar'))


def test_classes_in_another_order_than_the_file_s(drawn: Drawn):
    (message,) = errors(config(drawn, classes=('bar', 'square')))
    assert "classes=('square', 'bar')" in message


def test_a_config_without_classes_means_those_of_coco(drawn: Drawn):
    first = errors(config(drawn, classes=None))[0]
    assert "'person'" in first
    assert 'metainfo' in first


def test_one_class_without_its_comma(drawn: Drawn):
    with pytest.raises(DataError, match=r"classes='bar' .* classes=\('bar',\)"):
        errors(config(drawn, classes='bar'))


def test_classes_and_rows_of_the_head(drawn: Drawn):
    cfg = config(drawn, classes=('bar',))
    for model in (MODEL, dict(num_classes=2)):
        found = check_config({**cfg, 'model': model}, ('train',))
        (message,) = [str(finding) for finding in found if finding.stops]
        assert 'num_classes is 2' in message
        assert '1 class ' in message
    cfg = config(drawn)
    cfg['val_dataloader'] = config(drawn, classes=('bar', 'square'))['val_dataloader']
    assert any('val_dataloader are bar, square' in message for message in errors(cfg))


@pytest.mark.parametrize(
    ('model', 'key'),
    [
        (dict(MODEL, query_generator=dict(num_queries=1)), 'num_queries'),
        (dict(MODEL, query_generator=dict(generator=dict(num_queries=1))), 'num_queries'),
        (dict(MODEL, bbox_head=dict(selection=dict(max_per_img=1))), 'bbox_head.selection.max_per_img'),
    ],
)
def test_more_objects_than_queries_or_predictions(drawn: Drawn, model: dict[str, Any], key: str):
    (message,) = errors({**config(drawn), 'model': model})
    assert all(word in message for word in ('8 of 8 images', f'{key}=1', '0.png: 2', f'set {key} to 2')), message


def test_patterns_multiply_queries(drawn: Drawn):
    model = dict(MODEL, query_generator=dict(generator=dict(num_queries=1, num_patterns=2)))
    assert errors({**config(drawn), 'model': model}) == []


def test_images_that_are_elsewhere(drawn: Drawn):
    first = errors(config(drawn, data_prefix=dict(img='')))[0]
    assert f'8 of 8 images are not in {drawn.folder}' in first
    (drawn.images / '5.png').unlink()
    (message,) = errors(config(drawn))
    assert '1 of 8 images' in message
    assert '5.png' in message


def test_images_that_cannot_be_used_are_named_before_the_start(drawn: Drawn):
    """Empty, cut, HTML, a pipe: training would end without a name, or wait for ever."""
    (drawn.images / '1.png').write_bytes(b'')
    (drawn.images / '2.png').write_bytes(b'<html>')
    (drawn.images / '3.png').write_bytes((drawn.images / '3.png').read_bytes()[:-40])
    (drawn.images / '4.png').unlink()
    os.mkfifo(drawn.images / '4.png')
    missing, unusable = errors(config(drawn))
    assert '4.png' in missing
    assert '3 images' in unusable
    assert '1.png of id 2 is empty' in unusable


def test_an_empty_image_far_from_the_first_ones(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config_checks, 'HEADERS', 2)
    (drawn.images / '6.png').write_bytes(b'')
    (message,) = errors(config(drawn))
    assert '6.png of id 7 is empty' in message


def test_of_a_part_of_a_dataset_the_first_images_are_looked_for(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config_checks, 'HEADERS', 2)
    for number in range(2, 8):
        (drawn.images / f'{number}.png').unlink()
    assert errors(config(drawn, indices=[0, 1])) == []


def test_an_evaluator_with_another_file(drawn: Drawn):
    """The AP would be 0: none of the images that are predicted has ground truth."""
    drawn.part('train.json', 0, 4)
    cfg = config(drawn, 'train.json')
    cfg['val_evaluator'] = [dict(ann_file=str(drawn.part('other.json', 4, 8)))]
    (message,) = errors(cfg)
    assert '4 of 4 images' in message
    assert 'val_evaluator.ann_file' in message


@pytest.mark.parametrize(('key', 'split'), [('area', 'train'), ('iscrowd', 'val'), ('id', 'train')])
def test_what_mmdet_would_stumble_over(drawn: Drawn, key: str, split: str):
    drawn.coco(change=lambda content: content['annotations'][3].pop(key))
    with pytest.raises(DataError, match=rf"all\.json: .*'{key}' of 1 of 16 annotations.*new-data"):
        check_config(config(drawn), (split,))


def test_a_byte_order_mark(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    """mmdet's reader dies of it; so small and large files are refused."""
    path = drawn.folder / 'all.json'
    path.write_bytes(json.dumps(drawn.content).encode('utf-8-sig'))
    for largest in (10**9, 10):
        monkeypatch.setattr(config_checks, 'LARGEST', largest)
        with pytest.raises(DataError, match=r'all\.json: .*encoding.*new-data'):
            check_config(config(drawn), ('train',))


def joined(drawn: Drawn, *metainfos: dict[str, Any], **more: Any) -> dict[str, Any]:
    inner = config(drawn)['train_dataloader']['dataset']
    parts = [dict(inner, metainfo={**inner['metainfo'], **metainfo}) for metainfo in metainfos]
    return dict(train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=parts, **more)))


def test_joined_datasets_need_the_same_metainfo(drawn: Drawn):
    red, blue = [(255, 0, 0)] * 2, [(0, 0, 255)] * 2
    assert check_config(joined(drawn, dict(palette=red), dict(palette=red)), ('train',)) == []
    for other in (dict(palette=blue), dict(palette=tuple(red)), {}):
        (found,) = check_config(joined(drawn, dict(palette=red), other), ('train',))
        assert found.stops
        assert all(word in str(found) for word in ('train_dataloader.dataset', 'palette', 'ignore_keys'))
    for ignored in ('palette', ['palette']):
        assert check_config(joined(drawn, dict(palette=red), dict(palette=blue), ignore_keys=ignored), ('train',)) == []


def many_classes(drawn: Drawn, number: int, draw: bool = True, **metainfo: Any) -> list[str]:
    names = [f'class {n}' for n in range(number)]
    drawn.content['categories'] = [dict(id=n, name=name) for n, name in enumerate(names, start=1)]
    cfg = config(drawn, metainfo=dict(classes=tuple(names), **metainfo))
    cfg['default_hooks'] = dict(visualization=dict(draw=draw))
    cfg['model'] = {}
    return [str(finding) for finding in check_config(cfg, ('train', 'val')) if finding.stops]


def test_fewer_colours_than_classes(drawn: Drawn):
    """The first validation draws a prediction of any class: mmdet has 80 colours where none are named."""
    (message,) = many_classes(drawn, 100)
    assert all(word in message for word in ('80 colours', '100 classes', "palette='random'"))
    assert many_classes(drawn, 100, palette='random') == []
    assert many_classes(drawn, 100, palette=[(0, 0, 0)] * 100) == []
    assert many_classes(drawn, 100, draw=False) == []


def test_datasets_within_others_and_other_datasets(drawn: Drawn):
    cfg = config(drawn, classes=('squares', 'bar'))
    inner = cfg['train_dataloader']['dataset']
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner]))
    assert len(check_config(dict(train_dataloader=dict(dataset=wrapped)), ('train',))) == 1
    other = dict(inner, type='LVISV1Dataset')
    assert check_config(dict(train_dataloader=dict(dataset=other)), ('train', 'val')) == []


def test_of_a_large_file_the_categories_alone_are_read(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    """Found from its end, past the word in other places."""

    def change(content: dict[str, Any]) -> None:
        content['annotations'][0]['bbox'] = 'not read'
        content['info'] = {'about "categories"': [1], 'categories': ['a']}

    path = drawn.coco(change=change)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: content[key] for key in ('categories', 'images', 'annotations', 'info')}))
    monkeypatch.setattr(config_checks, 'LARGEST', 10)
    assert errors(config(drawn)) == []
    (message,) = errors(config(drawn, classes=('square', 'bars')))
    assert "'bars' (did you mean 'bar'?)" in message
    Path(path).write_text('{"images": []}')
    with pytest.raises(DataError, match='no list of annotations'):
        check_config(config(drawn), ('train',))


def test_a_large_file_with_the_word_in_a_thousand_places(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    for item in drawn.content['annotations']:
        item['categories'] = ['"categories": [']
    drawn.content['notes'] = ['"categories"'] * 1000
    monkeypatch.setattr(config_checks, 'LARGEST', 10)
    assert errors(config(drawn)) == []


def test_test_images_without_annotations(drawn: Drawn):
    """As COCO's test-dev, whose predictions are written and not scored; a validation needs them."""
    drawn.coco(change=lambda content: content.pop('annotations'))
    cfg = config(drawn)
    cfg['test_dataloader'] = cfg['val_dataloader']
    assert check_config(cfg, ('test',)) == []
    with pytest.raises(DataError, match='no list of annotations'):
        check_config(cfg, ('val',))


def test_images_of_any_kind_are_told_by_their_header(drawn: Drawn):
    cv2.imwrite(str(drawn.images / '0.png'), np.zeros((48, 64), np.uint16))
    assert errors(config(drawn)) == []
