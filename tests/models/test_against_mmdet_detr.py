"""Exactness: mmdet's own DETR and ConditionalDETR, given our weights, compute the same.

Weights are exchanged by the tables with which ``tools/convert_weights.py`` reads their checkpoints.
"""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config

from mmdet_dab.checkpoints import LAYOUTS, check_fits, config_name, recognise
from mmdet_dab.checkpoints.known_layouts import OURS
from mmdet_dab.checkpoints.mmdet import MMDET_CONDITIONAL_DETR, MMDET_DETR
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mmdet_models import shrunk, their_config
from tests.helpers.paths import CONFIGS
from tests.helpers.tiny import BATCHES

#: Our config, theirs, the table, and the width: mmdet's ConditionalDETR encodes points with 256 channels, always.
PAIRS = {
    'DETR': ('detr_r50', 'detr/detr_r50_8xb2-150e_coco', MMDET_DETR, 32),
    'ConditionalDETR': (
        'conditional_detr_r50',
        'conditional_detr/conditional-detr_r50_8xb2-50e_coco',
        MMDET_CONDITIONAL_DETR,
        256,
    ),
}


def build(ours, theirs, table, width):
    """Both detectors with the same weights."""
    torch.manual_seed(0)
    ours = MODELS.build(tiny.shrunk_config(ours, width))
    theirs = MMDET_MODELS.build(shrunk(their_config(theirs), width))
    tiny.shake(ours)
    with torch.no_grad():  # positions that tell the queries well apart
        ours.query_generator.position.mul_(3)
    theirs.load_state_dict(table.from_ours(ours.state_dict()), strict=True)
    return ours.eval(), theirs.eval()


@pytest.fixture(scope='module', params=PAIRS)
def pair(request):
    ours, theirs, table, width = PAIRS[request.param]
    return (*build(ours, theirs, table, width), table)


def losses_of(models, pictures, samples):
    return [model(pictures, copy.deepcopy(samples), mode='loss') for model in models]


@pytest.mark.parametrize('name', BATCHES)
def test_same_outputs_and_losses(pair, name):
    pictures, samples = tiny.batch(**BATCHES[name])
    ours, theirs, _ = pair
    with torch.no_grad():
        for found, expected in zip(
            ours(pictures, samples, mode='tensor'), theirs(pictures, samples, mode='tensor'), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        losses, expected_losses = losses_of((ours, theirs), pictures, samples)
    assert list(losses) == list(expected_losses)
    for key, loss in losses.items():
        torch.testing.assert_close(loss, expected_losses[key].squeeze(), rtol=1e-5, atol=1e-6, msg=key)


def test_same_predictions(pair):
    """DETR's are the best queries, ConditionalDETR's the best pairs of query and class."""
    pictures, samples = tiny.batch()
    ours, theirs, _ = pair
    with torch.no_grad():
        found, expected = (model(pictures, copy.deepcopy(samples), mode='predict') for model in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        assert len(one.pred_instances) == 5
        torch.testing.assert_close(one.pred_instances.scores, other.pred_instances.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.pred_instances.labels, other.pred_instances.labels)
        torch.testing.assert_close(one.pred_instances.bboxes, other.pred_instances.bboxes, rtol=0, atol=1e-3)


def test_same_gradients(pair):
    pictures, samples = tiny.batch()
    *models, table = pair
    gradients = []
    for model, losses in zip(models, losses_of(models, pictures, samples), strict=True):
        model.zero_grad()
        sum(losses.values()).backward()
        zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
        gradients.append(zeros | {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    ours, theirs = table.from_ours(gradients[0]), gradients[1]
    assert set(ours) == set(theirs)
    for name, gradient in ours.items():
        largest = max(theirs[name].abs().max().item(), 1e-2)
        torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=1e-4 * largest, msg=name)


def test_weights_come_back(pair):
    """The converter undoes the renaming; nothing is lost or made up, and background is no class."""
    ours, theirs, table = pair
    weights = theirs.state_dict()
    assert [layout.name for layout in LAYOUTS if layout.recognises(weights)] == [table.name]
    conversion = table.convert(weights)
    assert not conversion.dropped
    assert conversion.state.keys() == ours.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(conversion.state[name], tensor), name
    assert conversion.class_rows == 3
    assert conversion.with_classes(3) is conversion
    assert recognise(ours.state_dict()) is OURS


@pytest.mark.parametrize('name', PAIRS)
def test_every_tensor_of_the_zoo_s_model_has_its_place(name):
    """The whole R50 models, whose weights mmdet's zoo has, and the config that the converter finds for them."""
    _, theirs, table, _ = PAIRS[name]
    weights = MMDET_MODELS.build(their_config(theirs).model).state_dict()
    conversion = table.convert(weights)
    found = config_name(conversion.state)
    model = MODELS.build(Config.fromfile(CONFIGS / found).model)
    check_fits(conversion, model.state_dict(), found)
    assert (recognise(weights), conversion.class_rows, conversion.dropped) == (table, 80, {})
