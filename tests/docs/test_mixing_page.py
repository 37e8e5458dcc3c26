"""docs/mixing.md: its tables list what there is."""

from __future__ import annotations

import re

import pytest
import torch

import mmdet_dab
from mmdet_dab.registry import MODELS, TASK_UTILS
from tests.helpers.mixes import MIXES
from tests.helpers.paths import ROOT

PAGE = (ROOT / 'docs' / 'mixing.md').read_text()


def table(heading):
    """Rows of the first table after a heading, as lists of cells; header and rule left out."""
    lines = PAGE.split(f'\n## {heading}\n')[1].split('\n## ')[0].splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]
    return rows[0], rows[2:]


COLUMNS = dict(re.findall(r'\*\*(\w+)\*\*\s`([\w/]+)`', PAGE))
HEADER, MATRIX = table('The assemblies')


def parts_in(config):
    """Names of the classes in a detector."""
    with torch.device('meta'):
        model = MODELS.build(config.model)
    return {type(part).__name__ for part in model.modules()}


@pytest.mark.parametrize('column', COLUMNS)
def test_matrix(column):
    """What is marked is in the detector, and the other way round."""
    index = HEADER.index(column)
    marked = {row[0].strip('`') for row in MATRIX if row[index] == '●'}
    assert marked == parts_in(mmdet_dab.load_config(COLUMNS[column])) & {row[0].strip('`') for row in MATRIX}


def test_matrix_is_whole():
    assert ['part', *COLUMNS] == HEADER
    assert all(len(row) == len(HEADER) and set(row[1:]) <= {'●', ''} for row in MATRIX)


def test_every_part_is_in_the_table():
    """But for norms, former names, the detectors themselves and what stands in their place."""
    _, rows = table('The parts')
    named = set(re.findall(r'`(\w+)`', ' '.join(row[0] for row in rows)))
    others = {'ComposedDETR', 'FrozenBatchNorm', 'AnchorDecoder', 'QueryDecoder', 'ExportedDetector', 'DetrTTA'}
    others |= {name for name in MODELS.module_dict if name.startswith('Mixed')}
    ours = {name for name, part in MODELS.module_dict.items() if part.__module__.startswith('mmdet_dab.')}
    assert named - set(TASK_UTILS.module_dict) == ours - others
    assert {'HungarianMatcher', 'MatcherAssigner'} <= named


def test_every_mix_is_in_the_table():
    assert set(re.findall(r'\| `(mmdet_\w+)\.py`', PAGE)) == set(MIXES)
