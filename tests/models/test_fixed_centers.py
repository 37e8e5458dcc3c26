"""Fixed xy (paper, table 8): centres stay through training, precision, saving and loading."""

from __future__ import annotations

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

import mmdet_dab
from mmdet_dab.config import load_config
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.golden import GoldenCase
from tests.helpers.paths import CONFIGS

FIXED = dict(fixed_centers=True, initial_anchors=dict(type='mmdet_dab.UniformAnchors'))


def test_centers_stay_through_training_with_decay_and_mixed_precision_saving_and_loading(tmp_path):
    """The zoo's optimizer with a hundred times its rate and decay: all that is trained moves, the centres do not."""
    model = tiny.build(query_generator=FIXED)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = Config.fromfile(CONFIGS / 'dab_detr_r50_50e.py').optim_wrapper
    config.optimizer.update(lr=1e-2, weight_decay=1e-2)
    wrapper = build_optim_wrapper(model, config)
    batch, samples = tiny.batch()
    for _ in range(3):
        with torch.autocast('cpu', torch.bfloat16):
            losses = model.train()(batch, samples, mode='loss')
        wrapper.update_params(sum(losses.values()))
    after = model.state_dict()
    assert torch.equal(after['query_generator.centers'], before['query_generator.centers'])
    still = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert not still

    torch.save({'state_dict': after}, tmp_path / 'fixed.pth')
    torch.manual_seed(1)
    other = MODELS.build(tiny.tiny_config(query_generator=FIXED))
    assert not torch.equal(other.query_generator.centers, before['query_generator.centers'])
    other.load_state_dict(mmdet_dab.checkpoints.read_checkpoint(tmp_path / 'fixed.pth')['state_dict'], strict=True)
    assert torch.equal(other.query_generator.centers, before['query_generator.centers'])


def test_released_fixed_xy_checkpoint_loads():
    """Released files hold fixed and learned anchors under one name; both are ours by strict loading."""
    case = GoldenCase.load('dab_detr_r50_3pat')
    config = load_config(str(CONFIGS / 'dab_detr_r50_fixxy_3pat_50e.py'), {})
    config.model.backbone.init_cfg = None
    model = MODELS.build(config.model)
    model.load_state_dict(mmdet_dab.checkpoints.convert(case.checkpoint(), num_classes=80), strict=True)
    released = case.checkpoint()['model']['refpoint_embed.weight']
    assert torch.equal(model.query_generator.anchors(), released.sigmoid())
    assert 'query_generator.centers' not in dict(model.named_parameters())
