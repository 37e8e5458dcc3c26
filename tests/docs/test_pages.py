"""What the pages show is so: their code runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

from mmdet_dab import cli
from mmdet_dab.errors import UserError
from mmdet_dab.registry import MODELS, REGISTRIES
from tests.helpers import markdown
from tests.helpers.mixes import shrunk, step_and_predict
from tests.helpers.paths import ROOT

BLOCKS = [block for page in markdown.PAGES for block in markdown.blocks(page)]
#: Prose is at most this wide; tables, images and headings are not prose.
WIDTH = 100


def select(*markers):
    return [block for block in BLOCKS if block.marker in markers]


@pytest.fixture(scope='module')
def folder(tmp_path_factory, demo_folder):
    """Where the blocks of a page run: beside our configs, a finished demo, and the files that pages show."""
    for block in select('file'):
        (demo_folder / block.argument).write_text(block.text)
    return demo_folder


@pytest.fixture(autouse=True)
def _in_folder(folder, monkeypatch):
    """Blocks find their files; what they register, import and set is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    registries = [registry for ours in REGISTRIES for registry in (ours, ours.mmdets)]
    before = [dict(registry.module_dict) for registry in registries]
    yield
    for registry, modules in zip(registries, before, strict=True):
        registry.module_dict.clear()
        registry.module_dict.update(modules)
    for block in select('file'):
        sys.modules.pop(Path(block.argument).stem, None)
    DefaultScope._instance_dict.clear()
    init_default_scope('mmdet')


@pytest.mark.parametrize('block', BLOCKS, ids=str)
def test_block_says_what_tests_do_with_it(block):
    assert block.language in ('bash', 'python', 'text'), f'{block}: name the language of the code block'
    assert block.marker, f'{block}: no marker, see tests/helpers/markdown.py'
    assert (block.argument is not None) == (block.marker in ('file', 'not run')), f'{block}: file name or reason'
    if block.marker in ('builds', 'refused', 'file'):
        assert block.language == 'python', f'{block}'


# --- Python and configs


@pytest.mark.parametrize('page', [page for page in markdown.PAGES if page.stem != 'README'], ids=lambda page: page.stem)
def test_python_runs(page):
    """All blocks of a page, in order and in one namespace."""
    names = {'__name__': 'page'}
    for block in markdown.blocks(page):
        if block.language == 'python' and block.marker == 'runs':
            exec(compile('\n' * block.line + block.text, str(page), 'exec'), names)


def load(text):
    path = Path('my_config.py')
    path.write_text(text)
    config = cli.load_config(str(path), {})
    init_default_scope(config.default_scope)
    config.model.backbone.init_cfg = None
    return config


@pytest.mark.parametrize('block', select('builds'), ids=str)
def test_config_builds_and_trains_a_step(block):
    """As it stands it builds; made small, it trains a step and predicts."""
    with torch.device('meta'):
        MODELS.build(load(block.text).model)
    step_and_predict(MODELS.build(shrunk(load(block.text))))


def names_in(message):
    """Keys, classes and numbers of a message, whatever its wording."""
    return set(re.findall(r"[\w.]*[\d_.=']+[\w']*|\w*[a-z][A-Z]\w*", message))


@pytest.mark.parametrize('block', select('refused'), ids=str)
def test_config_is_refused_with_the_error_that_is_shown(block):
    blocks = markdown.blocks(block.page)
    shown = blocks[blocks.index(block) + 1]
    with pytest.raises((ValueError, UserError)) as error, torch.device('meta'):
        MODELS.build(load(block.text).model)
    assert names_in(' '.join(shown.text.split())) == names_in(str(error.value))


# --- Links and form


@pytest.mark.parametrize('page', markdown.PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in markdown.links(page):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f'{page.name}: {link}'
        assert page.parent == ROOT or target.is_relative_to(markdown.DOCS), f'{page.name}: {link} is not in the site'
        if anchor and not anchor.startswith('mmdet_dab.'):
            assert anchor in markdown.anchors(target), f'{page.name}: {link}'


@pytest.mark.parametrize('page', markdown.PAGES, ids=lambda page: page.stem)
def test_files_exist(page):
    text = page.read_text()
    for path in re.findall(r'\b(?:configs|tools|tests|benchmarks)/[\w/]+\.\w+', text):
        assert (ROOT / path).exists(), f'{page.name}: {path}'
    for path in re.findall(r'`((?:models|checkpoints|data|hooks|analysis)/\w+\.py)`', text):
        assert (ROOT / 'mmdet_dab' / path).exists(), f'{page.name}: {path}'


@pytest.mark.parametrize('page', [*markdown.PAGES, ROOT / 'CHANGELOG.md'], ids=lambda page: page.stem)
def test_prose_is_not_too_wide(page):
    wide = [
        number
        for number, line in markdown.prose(page)
        if len(re.sub(r'\([^)\s]*\)', '', line)) > WIDTH and not re.match(r'\s*\||#', line)
    ]
    assert not wide, f'{page.name}: lines {wide} are wider than {WIDTH} characters'


def test_every_page_is_in_the_menu():
    menu = (ROOT / 'mkdocs.yml').read_text()
    for page in markdown.DOCS.rglob('*.md'):
        assert str(page.relative_to(markdown.DOCS)) in menu, page
