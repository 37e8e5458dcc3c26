"""The package is a house with floors: a module imports from lower floors only, and there is no cycle.

All imports count, also those within functions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

#: From the lowest floor to the highest. Rooms on one floor do not import one another.
FLOORS = (
    ('errors', 'version'),
    ('compat', 'config_files', 'console', 'media_files', 'overrides', 'regular_files', 'released', 'slurm'),
    ('mmengine_configs', 'registry', 'torchrun', 'unshared_config'),
    ('arrangements', 'models'),
    ('datasets', 'engine', 'interop'),
    ('checkpoints', 'optimize'),
    ('hooks', 'config'),
    ('data', 'parts'),
    ('launch', 'preflight'),
    ('analysis', 'deploy', 'explain'),
    ('inferencer',),
    ('commands',),
    ('cli',),
    ('__main__',),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = 'mmdet_dab'


def name_of(file: Path) -> str:
    return '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


FILES = {name_of(file): file for file in sorted((ROOT / PACKAGE).rglob('*.py'))}
#: What users import: its names come from everywhere, when they are asked for.
FRONT = PACKAGE


def imported(file: Path) -> Iterator[str]:
    """Full names of what a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{file}: imports are absolute'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@cache
def modules_imported(name: str) -> frozenset[str]:
    """Modules of the package that a module imports: ``a.b.c`` is module ``a.b.c``, or a name in module ``a.b``."""
    found = set()
    for target in imported(FILES[name]):
        if target.split('.')[0] == PACKAGE:
            found.add(target if target in FILES else target.rpartition('.')[0])
    return frozenset(found - {name})


def room_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else FRONT


ROOMS = sorted({room_of(name) for name in FILES} - {FRONT})


def test_every_room_has_its_floor():
    assert set(ROOMS) <= set(FLOOR)
    assert len(FLOOR) == sum(map(len, FLOORS))


@pytest.mark.parametrize('room', ROOMS)
def test_imports_go_down(room: str):
    upwards = [
        f'{name} imports {target}'
        for name in FILES
        if room_of(name) == room
        for target in modules_imported(name)
        if room_of(target) != room and FLOOR.get(room_of(target), len(FLOORS)) >= FLOOR[room]
    ]
    assert not upwards


def test_no_cycle_between_modules():
    graph = {name: modules_imported(name) & FILES.keys() for name in FILES if name != FRONT}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(' imports '.join(reversed(error.args[1]))) from error
