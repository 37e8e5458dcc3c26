"""Checks of class names, and which classes a training run gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.classes import check_categories, check_classes, choose_classes, name_problem
from mmdet_dab.data.coco import complete, read_coco
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn

Content = dict[str, Any]


def category(row: int, **values: Any) -> Callable[[Content], None]:
    return lambda content: content['categories'][row].update(values)


def data(drawn: Drawn, change: Callable[[Content], Any] | None = None, name: str = 'all.json') -> Annotations:
    return complete(read_coco(drawn.coco(name, change)), lambda name: None)


def crowds(content: Content) -> None:
    for item in content['annotations']:
        item['iscrowd'] = int(item['category_id'] == 1)


def ignored(content: Content) -> None:
    for item in content['annotations']:
        item['ignore'] = int(item['category_id'] == 1)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (category(1, id=1), ['1 repeated category id', '1: 2 times']),
        (category(1, name='square'), ['1 repeated category name', "'square': 2 times"]),
        (category(1, name='two\nlines'), ['1 class name', r"'two\nlines'"]),
        (category(1, name=''), ['1 class name', "''"]),
    ],
)
def test_categories_that_cannot_be_used(drawn: Drawn, change: Callable[[Content], None], words: list[str]):
    found = [str(one) for one in check_categories(data(drawn, change)) if one.stops]
    assert len(found) == 1
    assert all(word in found[0] for word in ['all.json', *words]), found


@pytest.mark.parametrize(
    'name', ['', ' ', 'a\nb', 'a\rb', 'a\tb', 'a\0b', 'a\u2028b', 'a\ud800', 'a{{ b }}', '{{_base_.x}}', '$\\frac$']
)
def test_names_that_cannot_be_used(name: str):
    assert name_problem(name)


@pytest.mark.parametrize(
    'name', ['größe', '大', 'US$', '\\$a$', '$\\frac', 'a"b', "it's", '{a}', 'می‌خواهم', '👩‍🚀', '#', '%s']
)
def test_names_that_can(name: str):
    assert not name_problem(name)


def test_a_class_of_crowds_only_has_nothing_to_learn_from(drawn: Drawn):
    for change in (crowds, ignored):
        (found,) = check_classes(data(drawn, change), ('square', 'bar'), training=True)
        assert not found.stops
        assert '1 of 2 classes' in found.what
        assert list(found.places) == ['square']
        assert not check_classes(data(drawn, change), ('square', 'bar'), training=False)
        (found,) = [one for one in check_classes(data(drawn, change), ('square',), training=True) if one.stops]
        assert '1 of 1 class ' in found.what


def test_a_name_that_only_the_config_has(drawn: Drawn):
    (found,) = check_classes(data(drawn), ('square', 'Bars'), training=True)
    assert found.stops
    assert "'Bars' (did you mean 'bar'?)" in found.what
    assert 'square, bar' in found.fix


def test_a_thousand_wrong_names_do_not_take_minutes(drawn: Drawn):
    """Only those that are shown are held against all names."""
    names = [f'class {number}' for number in range(3000)]
    change = lambda content: content['categories'].extend(dict(id=10 + n, name=f'Class-{n}') for n in range(3000))  # noqa: E731
    (found,) = check_classes(data(drawn, change), names, training=True)
    assert '2,997 more' in found.what


def test_classes_in_another_order_than_the_file_s(drawn: Drawn):
    (found,) = check_classes(data(drawn), ('bar', 'square'), training=True)
    assert found.stops
    assert "classes=('square', 'bar')" in found.fix


def choose(drawn: Drawn, val: Annotations | None = None, named: tuple[str, ...] | None = None, kind: str = 'coco'):
    return choose_classes((data(drawn), val or data(drawn)), kind, named)


def test_a_named_class_that_nobody_has(drawn: Drawn):
    with pytest.raises(DataError, match=r'all\.json') as refused:
        choose(drawn, named=('square', 'Bars'))
    assert all(word in str(refused.value) for word in ["'Bars'", "'bar'", 'square (16)', 'bar (16)'])


def test_classes_in_another_order_are_put_into_that_of_the_file(drawn: Drawn):
    classes, findings = choose(drawn, named=('bar', 'square'))
    assert classes == ['square', 'bar']
    assert [one.stops for one in findings] == [False]


def test_categories_in_another_order_in_validation(drawn: Drawn):
    """mmdet numbers labels by the file's order, each file for itself: the AP would be that of exchanged classes."""
    val = data(drawn, lambda content: content['categories'].reverse(), 'val.json')
    (found,) = [one for one in choose(drawn, val)[1] if one.stops]
    assert 'val.json' in str(found)


def test_other_ids_in_validation_do_no_harm(drawn: Drawn):
    """Labels count in the order of the categories; ids may be any."""

    def renumber(content: Content) -> None:
        for entry in content['categories']:
            entry['id'] += 10
        for entry in content['annotations']:
            entry['category_id'] += 10

    assert choose(drawn, data(drawn, renumber, 'val.json')) == (['square', 'bar'], [])


def test_a_name_that_only_validation_has(drawn: Drawn):
    found = [str(one) for one in choose(drawn, data(drawn, category(1, name='Bar'), 'val.json'))[1] if one.stops]
    assert all('val.json' in one for one in found)
    assert any("'bar' (did you mean 'Bar'?)" in one for one in found)


def test_categories_without_objects_and_those_not_asked_for(drawn: Drawn):
    drawn.content['categories'].insert(0, dict(id=7, name='things'))
    classes, (found,) = choose(drawn)
    assert classes == ['square', 'bar']
    assert list(found.places) == ['things']
    assert choose(drawn, kind='yolo')[0] == ['things', 'square', 'bar'], 'numbers count in the order of the list'
    classes, findings = choose(drawn, named=('bar',))
    assert classes == ['bar']
    assert all('8 of 16 objects' in one.what and not one.stops for one in findings)


def test_one_class_under_two_names(drawn: Drawn):
    drawn.content['categories'].append(dict(id=3, name=' Bar'))
    drawn.content['annotations'][1]['category_id'] = 3
    (found,) = [one for one in choose(drawn)[1] if one.stops]
    assert "'bar' and ' Bar'" in str(found)
