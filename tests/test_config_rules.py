"""What every file of configs/ keeps to: it states what it has to say, once, and by bare names."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from mmengine.config import Config

from mmdet_dab.models.shared_values import parameters_of
from mmdet_dab.registry import names_of_both
from tests.helpers.paths import CONFIGS

FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py'))
#: Values that a detector hands down to its parts.
SHARED = (
    'embed_dims',
    'num_heads',
    'hidden_dims',
    'dropout',
    'num_classes',
    'num_queries',
    'num_levels',
    'anchor_dims',
)
#: What a first line names where it states a figure.
SOURCES = re.compile(r'paper|arXiv|zoo|detrex|authors|docs/\w+\.md')


@dataclass
class Taken:
    """A value that a file takes from its base by ``{{_base_.…}}``: stated there, not here."""

    value: Any


def plain(value: Any) -> Any:
    """Without mmengine's classes, and without the scope that it notes in configs of packages."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if key != '_scope_'}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@functools.cache
def whole(name: str) -> dict[str, Any]:
    """The config with all that it inherits."""
    return plain(Config.fromfile(CONFIGS / name)._cfg_dict)


@functools.cache
def inherited(name: str) -> dict[str, Any]:
    """What a file inherits from the files of its ``_base_``."""
    found = re.search(r'^_base_ = (\[[^]]*\]|\S+)$', (CONFIGS / name).read_text(), flags=re.MULTILINE)
    if found is None:
        return {}
    bases = eval(found[1])
    bases = [bases] if isinstance(bases, str) else bases
    bases = [base if '::' in base else str((CONFIGS / name).parent / base) for base in bases]
    return plain(Config.fromstring(f'_base_ = {bases!r}\n', '.py')._cfg_dict)


@functools.cache
def stated(name: str) -> dict[str, Any]:
    """What a file itself states."""

    def taken(path: str) -> Taken:
        value = inherited(name)
        for key in path.split('.'):
            value = value[key]
        return Taken(value)

    text = re.sub(r'\{\{_base_\.([\w.]+)\}\}', r'_taken("\1")', (CONFIGS / name).read_text())
    variables: dict[str, Any] = {'_taken': taken}
    exec(text, variables)
    return plain({key: value for key, value in variables.items() if not key.startswith('_')})


def repetitions(stated: Mapping, inherited: Mapping, path: str = '') -> Iterator[str]:
    """Dotted keys whose value the base has already; what replaces its base wholly is skipped."""
    if '_delete_' in stated:
        return
    for key, value in stated.items():
        if isinstance(value, dict) and isinstance(inherited.get(key), dict):
            yield from repetitions(value, inherited[key], f'{path}{key}.')
        elif key in inherited and inherited[key] == (value.value if isinstance(value, Taken) else value):
            yield f'{path}{key}'


def restated_defaults(stated: Any, whole: Any, inherited: Any, path: str = '') -> Iterator[str]:
    """Dotted keys whose value is the default of the class, and overrides nothing of the base.

    Args:
        stated: by the file.
        whole: the same place of the config, which knows the type that a file may leave to its base.
        inherited: the same place of the base; None where there is none.
        path: of the place, with a dot at the end.
    """
    if isinstance(stated, list):
        for index, item in enumerate(stated):
            same = isinstance(whole, list) and len(whole) == len(stated)
            yield from restated_defaults(item, whole[index] if same else None, None, f'{path}{index}.')
    if not isinstance(stated, dict):
        return
    whole = whole if isinstance(whole, dict) else {}
    inherited = inherited if isinstance(inherited, dict) and '_delete_' not in stated else {}
    kind = stated.get('type', whole.get('type'))
    arguments = parameters_of(kind) if isinstance(kind, str) else {}
    for key, value in stated.items():
        if key in arguments and plain(arguments[key].default) == value and key not in inherited:
            yield f'{path}{key}'
        yield from restated_defaults(value, whole.get(key), inherited.get(key), f'{path}{key}.')


@pytest.mark.parametrize('name', FILES)
def test_no_value_is_one_of_the_base(name: str):
    assert not list(repetitions(stated(name), inherited(name)))


@pytest.mark.parametrize('name', FILES)
def test_no_value_of_a_part_is_the_default_of_its_class(name: str):
    assert not list(restated_defaults(stated(name), whole(name), inherited(name)))


@pytest.mark.parametrize('name', FILES)
def test_no_part_repeats_a_value_of_the_detector(name: str):
    """Width, heads, classes and the like are handed down."""
    model = whole(name).get('model', {})
    shared = {key: model[key] for key in SHARED if key in model}
    own = stated(name).get('model', {})
    parts = {key: value for key, value in own.items() if key != 'backbone'} if isinstance(own, dict) else {}
    repeated = [
        f'{part}: {key}'
        for part, config in parts.items()
        for key, value in values_inside(config)
        if key in shared and shared[key] == value
    ]
    assert not repeated


def values_inside(node: Any) -> Iterator[tuple[str, Any]]:
    """All (key, value) of a config, at any depth."""
    if isinstance(node, dict):
        yield from node.items()
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from values_inside(item)


@pytest.mark.parametrize('name', FILES)
def test_names_are_bare(name: str):
    """The prefix stands only where mmdet has a part of the same name."""
    text = (CONFIGS / name).read_text()
    assert set(re.findall(r"type='mmdet_dab\.(\w+)'", text)) <= set(names_of_both())


@pytest.mark.parametrize('name', FILES)
def test_first_lines_say_what_it_is_and_where_a_figure_comes_from(name: str):
    lines = (CONFIGS / name).read_text().splitlines()
    assert lines[0].startswith(('# ', '"""'))
    comment = ' '.join(line for line in lines[: next(i for i, line in enumerate(lines) if line[:1] not in '#"')])
    assert not re.search(r'\bAP \d', comment) or SOURCES.search(comment), comment
