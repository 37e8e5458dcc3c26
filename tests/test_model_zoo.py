"""docs/model_zoo.md and configs/metafile.yml say what the configs and the paper say."""

from __future__ import annotations

import re

import pytest
import torch
import yaml

from mmdet_dab.analysis import complexity
from mmdet_dab.config import build_detector, load_config
from tests.helpers.paths import CONFIGS, ROOT

ROWS = {
    cells[0].strip('` '): [cell.strip() for cell in cells[1:]]
    for line in (ROOT / 'docs' / 'model_zoo.md').read_text().splitlines()
    if (cells := line.strip('|').split('|'))[0].strip().startswith('`dab_')
}
MODELS = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']


def test_every_config_of_the_zoo_is_listed_in_both():
    configs = {path.stem for path in CONFIGS.glob('dab_*.py')}
    assert set(ROWS) == configs
    assert {model['Name'] for model in MODELS} == configs


@pytest.mark.parametrize('name', ROWS)
def test_ap_is_that_of_the_config(name):
    ap, whose, _, _, paper, _ = ROWS[name]
    source = (CONFIGS / f'{name}.py').read_text()
    header = ' '.join(line.lstrip('# ') for line in re.match(r'(?:#.*\n)*', source)[0].splitlines())
    stated = re.search(r'AP (\d\d\.\d)\)?', header)
    if name.endswith('_released'):
        stated = re.search(r'AP (\d\d\.\d)', (CONFIGS / 'dab_deformable_detr_r50_50e.py').read_text())
    if ap != '—':
        assert stated
        assert ap == stated[1]
        assert whose in ('paper', 'detrex')
    assert (paper == '—') == (name not in TABLE_2)
    if name in TABLE_2:
        assert int(paper) == TABLE_2[name]


#: GFLOPs of the paper's table 2.
TABLE_2 = {
    'dab_detr_r50_50e': 94,
    'dab_detr_r50_3pat_50e': 100,
    'dab_detr_r50_dc5_50e': 202,
    'dab_detr_r50_dc5_3pat_50e': 216,
    'dab_detr_r101_50e': 174,
    'dab_detr_r101_3pat_50e': 179,
    'dab_detr_r101_dc5_50e': 282,
    'dab_detr_r101_dc5_3pat_50e': 296,
}


@pytest.mark.parametrize('name', ROWS)
def test_parameters_and_multiply_adds(name):
    """At the size with the mean area, which gives the mean to half a per cent; Swin pads its windows at each size."""
    config = load_config(CONFIGS / f'{name}.py')
    with torch.device('cpu' if 'swin' in name else 'meta'):  # a Swin computes while it is built
        model = build_detector(config)
    assert float(ROWS[name][2]) == round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1)
    counts = complexity.count(model, {complexity.MEAN_SIZE: 1})
    found = (counts.weights.total() + counts.attention.total()) / 1e9
    assert float(ROWS[name][3]) == pytest.approx(found, rel=2e-2 if 'swin' in name else 6e-3)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_metafile_agrees_with_the_page(model):
    ap, _, parameters, products, _, _ = ROWS[model['Name']]
    assert (ROOT / model['Config']).is_file()
    assert model['Metadata']['Parameters (M)'] == float(parameters)
    assert model['Metadata']['Multiply-adds (G)'] == float(products)
    results = model.get('Results', [])
    assert [str(result['Metrics']['box AP']) for result in results] == ([] if ap == '—' else [ap])
    assert all(result['Reported By'] in ('the authors (paper)', 'detrex') for result in results)
