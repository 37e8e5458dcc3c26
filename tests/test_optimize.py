"""optimize_for_inference: the same predictions, and a model that says what it is."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from torch import nn

from mmdet_dab import optimize_for_inference
from mmdet_dab.config import build_detector, config_names, find_config, load_config, walk
from mmdet_dab.models import ComposedDETR
from mmdet_dab.registry import MODELS
from tests.helpers import tiny


@pytest.fixture
def model() -> nn.Module:
    """Batch norm with statistics that folding must not lose."""
    built = tiny.build()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return built


def outputs(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    batch, samples = tiny.batch()
    with torch.no_grad():
        return model(batch, samples, mode='tensor')


def test_same_outputs_without_batch_norm_and_channels_last(model):
    before = outputs(model)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    optimised = optimize_for_inference(model.train())
    assert optimised is model
    assert not model.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convolutions)
    for found, expected in zip(outputs(model), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='PyTorch without oneDNN')
def test_what_follows_a_convolution_is_computed_with_it():
    """One kernel for convolution, residual and ReLU; none passes over a map alone."""
    backbone = dict(type='FoldingResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
    backbone |= dict(out_indices=(2,), norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True, init_cfg=None)
    model = optimize_for_inference(tiny.build(backbone=dict(backbone, _delete_=True)))
    images, _ = tiny.batch()
    with torch.inference_mode(), torch.profiler.profile() as profile:
        model.backbone(images)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls['mkldnn::_convolution_pointwise'] == sum(
        isinstance(each, nn.Conv2d) for each in model.backbone.modules()
    )
    assert not calls.keys() & {'aten::relu_', 'aten::clamp_min_', 'aten::add_'}


def test_a_second_call_changes_nothing(model):
    weights = {name: tensor.clone() for name, tensor in optimize_for_inference(model).state_dict().items()}
    again = optimize_for_inference(model).state_dict()
    assert weights.keys() == again.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    with pytest.raises(ValueError, match=r'optimised for torch\.float32, compiled with None: build and load it anew'):
        optimize_for_inference(model, torch.bfloat16)


def test_bfloat16_is_close_and_positions_stay_float32(model):
    logits, boxes = outputs(model)
    optimize_for_inference(model, torch.bfloat16)
    for part, dtype in (('backbone', torch.bfloat16), ('decoder', torch.bfloat16), ('bbox_head', torch.float32)):
        assert {parameter.dtype for parameter in getattr(model, part).parameters()} == {dtype}
    found_logits, found_boxes = outputs(model)
    assert found_logits.dtype == found_boxes.dtype == torch.float32
    assert 0 < (found_logits - logits).abs().max() < 0.05 * logits.abs().max()
    assert 0 < (found_boxes - boxes).abs().max() < 0.02


def kinds() -> dict[frozenset[str], str]:
    """One config for each set of parts that some config is built of."""
    found: dict[frozenset[str], str] = {}
    for name in config_names():
        model = Config.fromfile(find_config(name)).model
        parts = {f'{key}={node["type"]}' for key, node in walk(model, '') if 'type' in node}
        found.setdefault(frozenset(parts), name)
    return found


def predictions(model: nn.Module) -> list[torch.Tensor]:
    """Scores, of an assembly before the best are chosen: rounding may change the choice."""
    batch, samples = tiny.batch()
    with torch.no_grad():
        predicted = model(batch, copy.deepcopy(samples), mode='predict')
        if isinstance(model, ComposedDETR):
            return list(model(batch, samples, mode='tensor')[0].sigmoid())
        return [sample.pred_instances.scores for sample in predicted]


def check_precision(name: str, dtype: torch.dtype) -> None:
    """The scores of random weights differ by the precision's rounding, from those of float32."""
    cfg = load_config(name, {'model.num_queries': 30} if 'dino' in name else None)
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = build_detector(cfg)
    starts: list[torch.Tensor | None] = []
    if isinstance(model, ComposedDETR):
        model.query_generator.register_forward_hook(lambda _, __, queries: starts.append(queries.anchors))
    expected = predictions(model)
    optimize_for_inference(model, dtype)
    for found, exact in zip(predictions(model), expected, strict=True):
        assert found.dtype == torch.float32
        if starts and starts[0] is not None and starts[-1] is not None:
            # Which of many cells alike is chosen, rounding may decide: then the query is another.
            same = (starts[0] - starts[-1]).abs().amax(-1) < 0.02
            assert same.any()
            found, exact = found[same], exact[same]
        # The mean: at the edge of a mask, rounding decides whether a cell is seen at all.
        assert (found - exact).abs().mean() < (0.005 if dtype == torch.bfloat16 else 0.0005)


@pytest.mark.parametrize(
    'name',
    [
        'dab_deformable_detr_r50_50e',
        'dab_detr_swin_t_50e',
        'mix/anchor_masked_dab_detr_r50_50e',
        'mix/mmdet_dab_detr_decoder_r50_50e',
        'mix/mmdet_detr_encoding_r50_150e',
        'mix/road/0_detr_shapes',
        'mix/road/2_conditional_query_shapes',
        'mix/dn_detr_shapes_5min',
        'mix/two_stage_dn_dab_deformable_detr_r50_50e',
    ],
)
def test_parts_of_all_kinds_compute_in_bfloat16(name: str):
    """Learned content, learned positions and masks come in float32; stacks of mmdet stay in it."""
    check_precision(name, torch.bfloat16)


@pytest.mark.parametrize('name', ['mix/road/0_detr_shapes', 'mix/dn_detr_shapes_5min'])
def test_small_models_compute_in_float16(name: str):
    check_precision(name, torch.float16)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize('name', kinds().values())
def test_every_config_predicts_in_bfloat16(name: str):
    check_precision(name, torch.bfloat16)


def test_weights_can_not_be_loaded_afterwards(model):
    weights = model.state_dict()
    optimize_for_inference(model)
    with pytest.raises(RuntimeError, match='takes no weights any more: build it anew'):
        model.load_state_dict(weights)


def test_a_model_of_mmdet():
    config: Config = get_config('mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py')
    config.model.backbone.update(depth=18, init_cfg=None)
    config.model.neck.in_channels = [512]
    config.model.encoder.num_layers = config.model.decoder.num_layers = 2
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    tiny.shake(model)
    model.eval()
    batch, samples = tiny.batch()
    with torch.no_grad():
        expected = [sample.pred_instances.scores.clone() for sample in model(batch, samples, mode='predict')]
        optimize_for_inference(model)
        found = [sample.pred_instances.scores for sample in model(batch, samples, mode='predict')]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match='Linear has no backbone'):
        optimize_for_inference(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"compile_with='nothing' is not one of .*inductor"):
        optimize_for_inference(tiny.build(), compile_with='nothing')
    with pytest.raises(ValueError, match=r'dtype=torch\.int8 is not a float'):
        optimize_for_inference(tiny.build(), torch.int8)
