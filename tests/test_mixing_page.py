"""docs/mixing.md says what is so: its configs build and train, its errors come, its tables hold."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from mmengine.registry import init_default_scope

from mmdet_dab import cli
from mmdet_dab.registry import MODELS, TASK_UTILS
from tests.helpers.mixes import MIXES, shrunk, step_and_predict
from tests.helpers.paths import CONFIGS, ROOT

PAGE = (ROOT / 'docs' / 'mixing.md').read_text()
MARK = r'<!-- {} in tests/test_mixing_page\.py -->\n```python\n(.*?)```\n'
CONFIG_SNIPPETS = re.findall(MARK.format('builds'), PAGE, re.S)
REFUSALS = re.findall(MARK.format('refused') + r'```text\n(.*?)```', PAGE, re.S)
OWN_PART = re.search(r'```python\n(import torch\n.*?)```', PAGE, re.S)[1]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where a user has our `configs/` and a part of their own."""
    folder = tmp_path_factory.mktemp('mixing')
    (folder / 'configs').symlink_to(CONFIGS)
    (folder / 'my_parts.py').write_text(OWN_PART)
    sys.path.insert(0, str(folder))
    sys.modules.pop('my_parts', None)  # of another test's page
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop('my_parts', None)


def load(folder, text):
    path = folder / 'my_config.py'
    path.write_text(text)
    config = cli.load_config(str(path), {})
    init_default_scope(config.default_scope)
    config.model.backbone.init_cfg = None
    return config


def test_every_snippet_is_tested():
    assert len(CONFIG_SNIPPETS) == 4
    assert len(REFUSALS) == 7
    assert PAGE.count('```python') == len(CONFIG_SNIPPETS) + len(REFUSALS) + 1


@pytest.mark.parametrize('snippet', CONFIG_SNIPPETS)
def test_config_builds_and_trains_a_step(snippet, folder):
    """As it stands it builds; made small, it trains a step and predicts."""
    config = load(folder, snippet)
    with torch.device('meta'):
        MODELS.build(config.model)
    model = MODELS.build(shrunk(load(folder, snippet)))
    step_and_predict(model)
    if 'PictureQueryGenerator' in snippet:
        assert type(model.query_generator).__module__ == 'my_parts'
        assert model.query_generator.content.weight.grad.abs().sum() > 0
    if 'levels' in snippet:
        assert model.tokenizer.levels == (2,)
    if 'MatcherAssigner' in snippet:
        assert type(model.bbox_head.assigner).__name__ == 'MatcherAssigner'


@pytest.mark.parametrize(('snippet', 'message'), REFUSALS)
def test_refusal_is_the_one_printed(snippet, message, folder):
    with pytest.raises((ValueError, cli.UsageError)) as error, torch.device('meta'):
        MODELS.build(load(folder, snippet).model)
    assert str(error.value).replace(f'{folder}/', '') == ' '.join(message.split())


# --- Tables -----------------------------------------------------------------------------------------


def table(heading):
    """Rows of the first table after a heading, as lists of cells; header and rule left out."""
    lines = PAGE.split(f'\n## {heading}\n')[1].split('\n## ')[0].splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]
    return rows[0], rows[2:]


COLUMNS = dict(re.findall(r'\*\*(\w+)\*\*\s`([\w/]+)`', PAGE))
HEADER, MATRIX = table('The assemblies')


def parts_in(config):
    """Names of the classes of ours in a detector."""
    with torch.device('meta'):
        model = MODELS.build(config.model)
    found, rest = set(), list(model.modules())
    while rest:
        part = rest.pop()
        found.add(type(part).__name__)
        rest.extend(getattr(part, 'parts', {}).values())
    return found


@pytest.mark.parametrize('column', COLUMNS)
def test_matrix(column):
    config = cli.load_config(str(CONFIGS / f'{COLUMNS[column]}.py'), {})
    index = HEADER.index(column)
    marked = {row[0].strip('`') for row in MATRIX if row[index] == '●'}
    assert marked == parts_in(config) & {row[0].strip('`') for row in MATRIX}


def test_matrix_is_whole():
    assert ['part', *COLUMNS] == HEADER
    assert all(len(row) == len(HEADER) and set(row[1:]) <= {'●', ''} for row in MATRIX)


def test_every_part_is_in_the_table():
    """But for backbones, losses, and the detectors themselves."""
    _, rows = table('The parts')
    named = set(re.findall(r'`(\w+)`', ' '.join(row[0] for row in rows)))
    others = {'ComposedDETR', 'DilatedResNet', 'FrozenBatchNorm', 'SigmoidFocalLoss', 'MMDetPointQueryGenerator'}
    others |= {name for name in MODELS.module_dict if name.startswith('Mixed')}
    ours = {name for name, part in MODELS.module_dict.items() if part.__module__.startswith('mmdet_dab.')}
    assert named - set(TASK_UTILS.module_dict) == ours - others
    assert {'HungarianMatcher', 'MatcherAssigner'} <= named


def test_every_mix_is_in_the_table():
    assert set(re.findall(r'\| `(mmdet_\w+)\.py`', PAGE)) == set(MIXES)


def test_files_that_the_page_names_exist():
    for path in re.findall(r'configs/[\w/]+\.py|tools/[\w/]+\.py', PAGE):
        assert (ROOT / path).exists(), path
    for path in re.findall(r'`(models/\w+\.py)`', PAGE):
        assert (ROOT / 'mmdet_dab' / path).exists(), path
