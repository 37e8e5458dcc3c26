"""What the README shows runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import torch

from mmdet_dab import SyntheticShapes, cli
from mmdet_dab.registry import MODELS
from tests.helpers.paths import ROOT

README = (ROOT / 'README.md').read_text()
CONFIG = 'configs/shapes/dab_detr_shapes_5min.py'
SNIPPETS = re.findall(r'<!-- runs in tests/test_readme\.py -->\n```python\n(.*?)```', README, re.S)


@pytest.fixture(scope='module')
def demo_folder(tmp_path_factory):
    """A folder as `make demo` leaves it, but for the training."""
    folder = tmp_path_factory.mktemp('readme')
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    work_dir = folder / 'work_dirs' / 'demo'
    work_dir.mkdir(parents=True)
    config = cli.load_config(str(ROOT / CONFIG), {})
    model = MODELS.build(config.model)
    dataset = SyntheticShapes(num_images=1, seed=1, metainfo=config.shapes.metainfo, image_size=(64, 64))
    meta = dict(dataset_meta=dict(dataset.metainfo))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), work_dir / f'iter_{config.train_cfg.max_iters}.pth')
    dataset.export_coco(work_dir / 'drawn')
    shutil.copy(work_dir / 'drawn' / 'images' / '000000.png', work_dir / 'picture.png')
    return folder


def test_there_are_snippets():
    assert len(SNIPPETS) >= 2


@pytest.mark.parametrize('snippet', SNIPPETS)
def test_snippet_runs(snippet, demo_folder):
    """In a process of its own, as a user would."""
    done = subprocess.run(
        [sys.executable, '-c', snippet], cwd=demo_folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_infer_command(demo_folder):
    """`tools/infer.py`, as the README calls it."""
    (command,) = re.findall(r'^python (tools/infer\.py .*)$', README, re.M)
    done = subprocess.run(
        [sys.executable, str(ROOT / command.split()[0]), *command.split()[1:]],
        cwd=demo_folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (demo_folder / 'outputs' / 'vis' / 'picture.png').exists()


def test_part_of_ones_own(tmp_path):
    """`my_parts.py` and the config that names it, as the README prints them."""
    part, config = re.findall(r'```python\n(from mmdet\.registry import MODELS.*?|_base_ = .*?)```', README, re.S)
    (tmp_path / 'my_parts.py').write_text(part)
    (tmp_path / 'my_config.py').write_text(
        config.replace("'dab_detr_r50_50e.py'", f"'{ROOT}/configs/dab_detr_r50_50e.py'")
    )
    code = (
        'import mmdet_dab; from mmengine.config import Config; from mmdet_dab.registry import MODELS\n'
        "model = Config.fromfile('my_config.py').model; model.backbone.init_cfg = None\n"
        'from mmengine.registry import init_default_scope; init_default_scope("mmdet")\n'
        'print(type(MODELS.build(model).decoder.anchor_update).__name__)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip().endswith('HalfwayUpdate'), done.stderr[-3000:]


def test_files_and_commands_exist():
    """Every path that the README names, and every tool."""
    for path in re.findall(r'\]\(([^)#:]+)\)', README) + re.findall(r'(?:python|bash) (tools/\S+)', README):
        assert (ROOT / path).exists(), path
    for config in re.findall(r'configs/\S+?\.py', README):
        assert (ROOT / config).exists(), config
