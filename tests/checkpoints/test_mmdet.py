"""Weights of mmdet's own DABDETR. That they compute the same is shown in ``tests/models/test_against_mmdet.py``."""

from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config

from mmdet_dab.checkpoints import check_fits, config_name, recognise
from mmdet_dab.checkpoints.mmdet import MMDET
from mmdet_dab.registry import MODELS
from tests.helpers.paths import CONFIGS


@pytest.fixture(scope='module')
def zoo():
    """The model of the config that comes with mmdet, whose weights its zoo has."""
    config = Path(mmdet.__file__).with_name('.mim') / 'configs/dab_detr/dab-detr_r50_8xb2-50e_coco.py'
    return MMDET_MODELS.build(Config.fromfile(config).model).state_dict()


def test_every_tensor_of_the_zoo_s_model_has_its_place(zoo):
    assert recognise(zoo) is MMDET
    conversion = MMDET.convert(zoo)
    name = config_name(conversion.state)
    assert name == 'dab_detr_r50_50e.py'
    model = MODELS.build(Config.fromfile(CONFIGS / name).model)
    check_fits(conversion, model.state_dict(), name)
    assert (conversion.class_rows, conversion.dropped) == (80, {})
    assert conversion.state.keys() == model.state_dict().keys()
