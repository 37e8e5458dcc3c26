"""The checks with which a training of any config starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmdet.datasets import CocoDataset

from mmdet_dab.data.checks import config as config_checks
from mmdet_dab.data.checks.config import check_config
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn

MODEL = dict(query_generator=dict(num_queries=10), bbox_head=dict(num_classes=2, max_per_img=10))


def config(drawn: Drawn, file: str = 'all.json', classes: Any = ('square', 'bar'), **dataset: Any) -> dict[str, Any]:
    """A config of a training and a validation on one file, as far as the checks read it."""
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


def faults(cfg: dict[str, Any]) -> list[str]:
    findings = check_config(cfg, ('train', 'val'))
    assert all(finding.stops for finding in findings)
    return [str(finding) for finding in findings]


def test_nothing_is_said_of_a_sound_config(drawn: Drawn):
    assert faults(config(drawn)) == []
    (drawn.folder / 'names.txt').write_text('square\nbar\n')
    assert faults(config(drawn, classes=str(drawn.folder / 'names.txt'))) == []


def test_a_wrong_class_name(drawn: Drawn):
    """mmdet would drop it in silence, and shift the labels behind it."""
    dropped = CocoDataset(
        data_root=str(drawn.folder),
        ann_file=str(drawn.coco()),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('squares', 'bar')),
    )
    assert dropped.cat2label == {2: 0}
    (sentence,) = faults(config(drawn, classes=('squares', 'bar')))
    assert "all.json: there is no category 'squares' (but 'square'): its categories are square, bar" in sentence


def test_classes_in_another_order_than_the_file_s(drawn: Drawn):
    (sentence,) = faults(config(drawn, classes=('bar', 'square')))
    assert "write classes=('square', 'bar')" in sentence


def test_a_config_without_classes_means_those_of_coco(drawn: Drawn):
    first = faults(config(drawn, classes=None))[0]
    assert "there is no category 'person'" in first
    assert "the config names no metainfo=dict(classes=...), which means COCO's 80 classes" in first


def test_one_class_without_its_comma(drawn: Drawn):
    with pytest.raises(DataError, match=r"classes='bar' is a text .* write classes=\('bar',\) with its comma"):
        faults(config(drawn, classes='bar'))


def test_classes_and_rows_of_the_head(drawn: Drawn):
    cfg = config(drawn, classes=('bar',))
    (sentence,) = [str(finding) for finding in check_config(cfg, ('train',)) if finding.stops]
    assert 'model.bbox_head.num_classes is 2, and there are 1 classes (bar)' in sentence
    cfg = config(drawn)
    cfg['val_dataloader'] = config(drawn, classes=('bar', 'square'))['val_dataloader']
    assert any('classes of val_dataloader are bar, square' in sentence for sentence in faults(cfg))


def test_more_objects_than_queries(drawn: Drawn):
    cfg = config(drawn)
    cfg['model'] = dict(MODEL, query_generator=dict(num_queries=1))
    (sentence,) = faults(cfg)
    assert '8 of 8 pictures have more objects than num_queries=1 (0.png: 2, ' in sentence
    assert 'set num_queries to 2 or more' in sentence
    cfg['model'] = dict(MODEL, query_generator=dict(generator=dict(num_queries=1, num_patterns=2)))
    assert faults(cfg) == []
    cfg['model'] = dict(MODEL, bbox_head=dict(num_classes=2, max_per_img=1))
    (sentence,) = faults(cfg)
    assert 'more objects than bbox_head.max_per_img=1' in sentence


def test_pictures_that_are_elsewhere(drawn: Drawn):
    first = faults(config(drawn, data_prefix=dict(img='')))[0]
    assert f'8 of the first 8 pictures are not in {drawn.folder} (0.png, ' in first


def test_an_evaluator_with_another_file(drawn: Drawn):
    """The AP would be 0: none of the pictures that are predicted has a truth."""
    cfg = config(drawn, 'train.json' if drawn.part('train.json', 0, 4) else '')
    cfg['val_evaluator'] = [dict(ann_file=str(drawn.part('other.json', 4, 8)))]
    (sentence,) = faults(cfg)
    assert '4 of the 4 pictures are not in' in sentence
    assert 'set val_evaluator.ann_file to the file of val_dataloader' in sentence


@pytest.mark.parametrize(('key', 'split'), [('area', 'train'), ('iscrowd', 'val'), ('id', 'train')])
def test_what_mmdet_would_stumble_over(drawn: Drawn, key: str, split: str):
    drawn.coco(change=lambda content: content['annotations'][3].pop(key))
    with pytest.raises(DataError, match=f"1 of 16 annotations have no '{key}' .*new_dataset.py writes"):
        check_config(config(drawn), (split,))


def test_data_sets_within_others_and_other_data_sets(drawn: Drawn):
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
    assert faults(config(drawn)) == []
    (sentence,) = faults(config(drawn, classes=('square', 'bars')))
    assert "there is no category 'bars' (but 'bar')" in sentence
    Path(path).write_text('{"images": []}')
    with pytest.raises(DataError, match='no list of categories'):
        check_config(config(drawn), ('train',))


def test_test_pictures_without_annotations(drawn: Drawn):
    """As COCO's test-dev, whose predictions are written and not scored; a validation needs them."""
    drawn.coco(change=lambda content: content.pop('annotations'))
    cfg = config(drawn)
    cfg['test_dataloader'] = cfg['val_dataloader']
    assert check_config(cfg, ('test',)) == []
    with pytest.raises(DataError, match='no list of annotations'):
        check_config(cfg, ('val',))
