"""The workflow, the hooks before a commit and the templates agree with the rest of the repository."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml

from tests.helpers.paths import ROOT

PROJECT = (ROOT / 'pyproject.toml').read_text()
WORKFLOW = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text())
MAKEFILE = (ROOT / 'Makefile').read_text()


def test_every_supported_python_is_checked():
    lowest, above = map(int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', PROJECT).groups())
    job = WORKFLOW['jobs']['check']
    assert job['strategy']['matrix']['python'] == [f'3.{minor}' for minor in range(lowest, above)]
    assert [step['run'] for step in job['steps'] if 'run' in step] == ['.ci/run']


def test_the_workflow_has_the_torch_of_the_makefile():
    assert WORKFLOW['env']['TORCH'].split()[0] == re.search(r'^TORCH \?= (\S+)', MAKEFILE, re.MULTILINE)[1]


def test_ruff_is_the_same_before_a_commit():
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    assert hooks['repos'][0]['rev'] == 'v' + re.search(r'"ruff==([\d.]+)"', PROJECT)[1]


def test_what_ci_runs_exists():
    script = ROOT / '.ci/run'
    assert os.access(script, os.X_OK)
    subprocess.run(['bash', '-n', script], check=True)
    targets = re.findall(r'^make (\w+)$', script.read_text(), re.MULTILINE)
    assert {'lint', 'types', 'docs', 'test'} <= set(targets)
    assert targets[-1] == 'test'
    for target in targets:
        assert re.search(rf'^{target}: ', MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize('path', sorted((ROOT / '.github').rglob('*.yml')), ids=lambda path: path.name)
def test_forms_are_whole(path):
    form = yaml.safe_load(path.read_text())
    if path.parent.name == 'ISSUE_TEMPLATE' and path.name != 'config.yml':
        assert {'name', 'description', 'body'} <= form.keys()
        for field in form['body']:
            assert field['type'] in ('textarea', 'checkboxes', 'input', 'dropdown')
            assert field['attributes']['label']


def test_files_that_contributing_names_exist():
    page = (ROOT / 'CONTRIBUTING.md').read_text()
    for path in re.findall(r'`((?:docs|tests|mmdet_dab|configs|benchmarks)/[\w./]*)`', page):
        assert (ROOT / path).exists(), path
