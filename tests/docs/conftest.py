"""Shared by the tests of the pages."""

import shutil

import pytest
import torch

import mmdet_dab
from mmdet_dab import SyntheticShapes
from mmdet_dab.registry import MODELS
from tests.helpers.paths import CONFIGS


@pytest.fixture(scope='session')
def demo_folder(tmp_path_factory):
    """A folder with our `configs/`, and `work_dirs/demo` as `make demo` leaves it, but for the training."""
    folder = tmp_path_factory.mktemp('pages')
    (folder / 'configs').symlink_to(CONFIGS)
    work_dir = folder / 'work_dirs' / 'demo'
    work_dir.mkdir(parents=True)
    config = mmdet_dab.load_config('shapes/demo')
    model = MODELS.build(config.model)
    dataset = SyntheticShapes(num_images=1, seed=1, metainfo=config.shapes.metainfo, image_size=(64, 64))
    meta = dict(dataset_meta=dict(dataset.metainfo))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), work_dir / f'iter_{config.train_cfg.max_iters}.pth')
    dataset.export_coco(work_dir / 'drawn')
    shutil.copy(work_dir / 'drawn' / 'images' / '000000.png', work_dir / 'image.png')
    return folder
