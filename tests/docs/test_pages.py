"""What the pages show is so: their code runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

import mmdet_dab
from mmdet_dab import cli, commands
from mmdet_dab.errors import UserError
from mmdet_dab.registry import MODELS, REGISTRIES
from tests.helpers import markdown
from tests.helpers.mixes import WIDTH, shrunk, step_and_predict
from tests.helpers.paths import ROOT

BLOCKS = [block for page in markdown.PAGES for block in markdown.blocks(page)]
by_page = pytest.mark.parametrize('page', markdown.PAGES, ids=lambda page: page.stem)


def select(*markers, language=None):
    return [block for block in BLOCKS if block.marker in markers and language in (None, block.language)]


def by_block(*markers, language=None):
    return pytest.mark.parametrize('block', select(*markers, language=language), ids=str)


@pytest.fixture(autouse=True)
def _in_folder(demo_folder, monkeypatch):
    """Blocks run beside our configs and a finished demo; what they register, import and set is forgotten."""
    for block in select('file'):
        (demo_folder / block.argument).write_text(block.text)
    monkeypatch.chdir(demo_folder)
    monkeypatch.syspath_prepend(str(demo_folder))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # set by commands; restored with this
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


# --- Python and shell


@pytest.mark.parametrize('page', sorted({block.page for block in select('runs')}), ids=lambda page: page.stem)
def test_page_runs(page):
    """All Python of a page in one namespace, and our commands, in order."""
    names = {'__name__': 'page'}
    for block in markdown.blocks(page):
        if block.marker == 'runs' and block.language == 'python':
            exec(compile('\n' * block.line + block.text, str(page), 'exec'), names)
        elif block.marker == 'runs':
            for program, *arguments in markdown.commands(block):
                assert program == 'mmdet-dab', f'{block}: {program} cannot be run here'
                assert cli.main(arguments) == 0, f'{block}: mmdet-dab {" ".join(arguments)}'


def parse(name, arguments):
    """Parse as `mmdet-dab NAME` does; exits where an option is unknown or an argument is missing."""
    parser = argparse.ArgumentParser(prog=name)
    commands.load(name).add_arguments(parser)
    parser.parse_args(arguments)


def check_python(block, arguments):
    """`python FILE …`, `python -m MODULE …`"""
    if arguments[0] == '-m' and arguments[1].startswith('benchmarks.'):
        source = (ROOT / f'{arguments[1].replace(".", "/")}.py').read_text()
        source += (ROOT / 'benchmarks' / 'side_by_side.py').read_text()
        for option in (text for text in arguments if text.startswith('--')):
            assert f"'{option}'" in source, f'{block}: {arguments[1]} has no {option}'
    elif arguments[0] == '-m':
        assert arguments[1] in ('venv', 'pytest', 'mmdet_dab.torchrun'), f'{block}: {arguments}'
    else:
        assert (ROOT / arguments[0]).is_file(), f'{block}: {arguments[0]}'


@by_block('runs', 'not run', language='bash')
def test_commands_parse(block):
    """Every command is known; those of ours have all options and arguments that are shown."""
    for program, *arguments in markdown.commands(block):
        if program == 'mmdet-dab' and arguments != ['--version']:
            parse(arguments[0], arguments[1:])
        elif program == 'python':
            check_python(block, arguments)
        elif program == 'make':
            assert re.search(rf'^{arguments[0]}:', (ROOT / 'Makefile').read_text(), re.M), f'{block}: {arguments}'
        elif program == 'bash':
            assert (ROOT / arguments[0]).is_file(), f'{block}: {arguments[0]}'
        elif program == 'pip':
            check_extras(block, ' '.join(arguments))
        else:
            known = 'cp do done export for git mkdir mmdet-dab source tensorboard'.split()
            assert program in known, f'{block}: {program} is unknown to this test'


def check_extras(block, arguments):
    packaging = (ROOT / 'setup.py').read_text() + (ROOT / 'pyproject.toml').read_text()
    for extra in re.findall(r'\[(\w+)\]', arguments):
        assert re.search(rf'\b{extra}\b', packaging), f'{block}: there is no extra {extra}'


# --- Configs


def load(text):
    path = Path('my_config.py')
    path.write_text(text)
    config = mmdet_dab.load_config(str(path))
    init_default_scope(config.default_scope)
    config.model.backbone.init_cfg = None
    return config


def small(config):
    """The model of a config, made small; what our detector hands down is set there."""
    model = shrunk(config)
    if model.type == 'ComposedDETR':
        model.update(embed_dims=WIDTH, hidden_dims=64, num_queries=7, num_classes=3)
        model.encoder.num_layers = model.decoder.num_layers = 2
    return model


@by_block('builds')
def test_config_builds_and_trains_a_step(block):
    """As it stands it builds; made small, it trains a step and predicts."""
    with torch.device('meta'):
        MODELS.build(load(block.text).model)
    step_and_predict(MODELS.build(small(load(block.text))))


def names_in(message):
    """Keys, classes and numbers of a message, whatever its wording."""
    words = re.findall(r"[\w.']+(?:=[\w.']+)?", message)
    return {word.strip(".'") for word in words if re.search(r'[=_\d]|\w\.\w|[a-z][A-Z]', word)}


@by_block('refused')
def test_config_is_refused_with_the_error_that_is_shown(block):
    blocks = markdown.blocks(block.page)
    shown = blocks[blocks.index(block) + 1]
    assert shown.language == 'text'
    with pytest.raises((ValueError, UserError)) as error, torch.device('meta'):
        MODELS.build(load(block.text).model)
    assert names_in(' '.join(shown.text.split())) == names_in(str(error.value))


# --- Links and form


@by_page
def test_links_lead_somewhere(page):
    for link in markdown.links(page):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f'{page.name}: {link}'
        assert page.parent == ROOT or target.is_relative_to(markdown.DOCS), f'{page.name}: {link} is not in the site'
        if anchor.startswith('mmdet_dab.'):
            module, _, name = anchor.rpartition('.')
            assert hasattr(importlib.import_module(module), name), f'{page.name}: {link}'
        elif anchor:
            assert anchor in markdown.anchors(target), f'{page.name}: {link}'


@by_page
def test_files_exist(page):
    text = page.read_text()
    for path in re.findall(r'(?<![\w/])(?:configs|tools|tests|benchmarks)/[\w/]+\.\w+', text):
        assert (ROOT / path).exists(), f'{page.name}: {path}'
    for path in re.findall(r'`((?:models|checkpoints|data|hooks|analysis)/\w+\.py)`', text):
        assert (ROOT / 'mmdet_dab' / path).exists(), f'{page.name}: {path}'


def test_every_page_is_in_the_menu():
    menu = (ROOT / 'mkdocs.yml').read_text()
    for page in markdown.DOCS.rglob('*.md'):
        assert str(page.relative_to(markdown.DOCS)) in menu, page


def test_reference_has_every_package():
    """Each module of the package is on one page of the reference."""
    pages = ' '.join(path.read_text() for path in (markdown.DOCS / 'reference').glob('*.md'))
    shown = set(re.findall(r'<!-- modules: mmdet_dab\.(\w+) -->', pages))
    package = ROOT / 'mmdet_dab'
    found = {path.parent.name for path in package.glob('*/__init__.py')} - {'commands'}
    assert found <= shown, sorted(found - shown)
    assert all((package / name).is_dir() or (package / f'{name}.py').is_file() for name in shown)


def test_architecture_names_every_module():
    table = (markdown.DOCS / 'architecture.md').read_text().split('## Packages')[1].split('## ')[0]
    package = ROOT / 'mmdet_dab'
    found = {path.stem for path in package.glob('[!_]*.py')} | {
        path.parent.name for path in package.glob('*/__init__.py')
    }
    assert found - set(re.findall(r'`(\w+)`', table)) == set()


def test_ideas_are_in_the_files_that_are_named():
    """Rows of docs/paper_to_code.md: files of `models/`, and classes in one of them."""
    table = (markdown.DOCS / 'paper_to_code.md').read_text().split('## The tables')[0]
    rows = [line.split('|')[2:4] for line in table.splitlines() if line.startswith('|') and '.py`' in line]
    assert len(rows) > 20
    for files, classes in rows:
        sources = ''.join((ROOT / 'mmdet_dab/models' / name).read_text() for name in re.findall(r'`(\w+\.py)`', files))
        for name in re.findall(r'`(\w+)`', classes):
            assert f'class {name}' in sources, name
