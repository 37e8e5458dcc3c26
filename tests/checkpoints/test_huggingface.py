"""Exactness, both ways: ``transformers``' DabDetrForObjectDetection computes what ours does with the same weights."""

from __future__ import annotations

import json
import re

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from mmdet_dab.checkpoints import CheckpointError, recognise
from mmdet_dab.checkpoints.huggingface import HUGGINGFACE, HUGGINGFACE_TIMM
from mmdet_dab.checkpoints.huggingface_export import config as huggingface_config
from mmdet_dab.checkpoints.huggingface_export import export
from mmdet_dab.registry import MODELS
from tests.helpers.golden import make_weight
from tests.helpers.huggingface import assert_same, build_ours, build_theirs
from tests.helpers.paths import CONFIGS

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(1333, 800), keep_ratio=True)]
VARIANTS = {
    'plain': (dict(), dict()),
    'patterns': (dict(num_patterns=3), dict(query_generator=dict(num_patterns=3))),
    'positions in every layer': (
        dict(keep_query_pos=True),
        dict(decoder=dict(layer=dict(cross_attention=dict(position_in_content=True)))),
    ),
    'fixed centres': (dict(random_refpoints_xy=True), dict(query_generator=dict(fixed_centers=True))),
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_their_weights_compute_the_same_here(variant):
    settings, overrides = VARIANTS[variant]
    theirs, ours = build_theirs(**settings), build_ours(**overrides)
    assert recognise(theirs.state_dict()) is HUGGINGFACE
    conversion = HUGGINGFACE.convert(theirs.state_dict())
    assert set(conversion.dropped.values()) == {'equal to bbox_predictor'}
    ours.load_state_dict(conversion.state, strict=True)
    assert_same(ours, theirs)


def test_weights_with_a_backbone_of_timm():
    """timm cannot be imported here, so its state dict comes from a rule: torchvision's names after ``_backbone.``.

    Seen once in reality, with transformers 5.23.0, timm 1.0.31, torch 2.14.1 and torchvision 0.29.1: these are the
    names, and ResNet-50 and its DC5 computed the same here to 7e-7 in the logits.
    """
    theirs = build_theirs()
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if 'conv_encoder' not in name}
    for name, tensor in HUGGINGFACE.convert(theirs.state_dict()).state.items():
        if name.startswith('backbone.'):
            weights[f'model.backbone.conv_encoder.model._backbone.{name.removeprefix("backbone.")}'] = tensor
    assert 'model.backbone.conv_encoder.model._backbone.layer2.0.downsample.1.running_var' in weights
    assert recognise(weights) is HUGGINGFACE_TIMM
    ours = build_ours()
    ours.load_state_dict(HUGGINGFACE_TIMM.convert(weights).state, strict=True)
    assert_same(ours, theirs)


@pytest.mark.parametrize('variant', VARIANTS)
def test_ours_computes_the_same_there(variant, tmp_path):
    """What was written is read by ``from_pretrained`` without a tensor missing or left over."""
    from transformers import DabDetrForObjectDetection

    ours = build_ours(**VARIANTS[variant][1])
    for name, buffer in ours.named_buffers():
        if 'running_' in name:
            buffer.copy_(torch.from_numpy(make_weight(name, list(buffer.shape))))
    export(tmp_path / 'out', ours, ours.state_dict(), ('cat', 'dog', 'owl'), PIPELINE)
    theirs, report = DabDetrForObjectDetection.from_pretrained(tmp_path / 'out', output_loading_info=True)
    assert not any(report[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    assert theirs.config.id2label == {0: 'cat', 1: 'dog', 2: 'owl'}
    assert_same(ours, theirs.eval())
    back = HUGGINGFACE.convert(theirs.state_dict()).state
    for name, tensor in ours.state_dict().items():
        assert name.endswith('num_batches_tracked') or torch.equal(back[name], tensor), name


def test_weights_that_lie_in_one_another_are_written_apart(tmp_path):
    """A checkpoint may hold them so; safetensors does not."""
    ours = build_ours()
    state = ours.state_dict()
    pool = torch.rand(max(tensor.numel() for tensor in state.values()))
    state = {name: pool[: tensor.numel()].view(tensor.shape) for name, tensor in state.items()}
    export(tmp_path, ours, state, None, PIPELINE)
    back = HUGGINGFACE.convert(load_file(tmp_path / 'model.safetensors')).state
    assert torch.equal(back['decoder.norm.weight'], state['decoder.norm.weight'])


def test_images_are_prepared_as_in_the_test(tmp_path):
    """mmdet normalises images in 0..255, Hugging Face in 0..1: 123.675 / 255 = 0.485."""
    ours = build_ours()
    export(tmp_path, ours, ours.state_dict(), None, PIPELINE)
    settings = json.loads((tmp_path / 'preprocessor_config.json').read_text())
    assert settings['size'] == {'shortest_edge': 800, 'longest_edge': 1333}
    assert settings['image_mean'] == pytest.approx([0.485, 0.456, 0.406])
    assert settings['image_std'] == pytest.approx([0.229, 0.224, 0.225])
    export(tmp_path, ours, ours.state_dict(), None, PIPELINE[:1])
    settings = json.loads((tmp_path / 'preprocessor_config.json').read_text())
    assert (settings['do_resize'], 'size' in settings) == (False, False)


@pytest.mark.parametrize('name', ['dab_detr_r50_3pat_50e.py', 'dab_detr_r101_50e.py'])
def test_configs_of_the_paper_have_an_equal_there(name):
    """Their model of our ``config.json`` has exactly the tensors that we write."""
    from transformers import DabDetrConfig, DabDetrForObjectDetection

    ours = MODELS.build(Config.fromfile(CONFIGS / name).model)
    state = {name: tensor for name, tensor in ours.state_dict().items() if 'num_batches' not in name}
    written = {name: tensor.shape for name, tensor in HUGGINGFACE.from_ours(state).items()}
    with torch.device('meta'):
        theirs = DabDetrForObjectDetection(DabDetrConfig.from_dict(huggingface_config(ours)))
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert written == {name: shape for name, shape in expected.items() if 'decoder.bbox_embed' not in name}


def test_dc5_is_written_for_timm():
    """Their own ResNet cannot be dilated; timm's can. Read back there once: 2e-6 from the authors' figures for DC5."""
    settings = huggingface_config(MODELS.build(Config.fromfile(CONFIGS / 'dab_detr_r50_dc5_50e.py').model))
    assert (settings['use_timm_backbone'], settings['backbone'], settings['dilation']) == (True, 'resnet50', True)
    assert settings['backbone_config'] is None


REFUSED = {
    'positional_encoder.box_temperature is 20': dict(positional_encoder=dict(box_temperature=20)),
    'positional_encoder.offset is 0.5': dict(positional_encoder=dict(offset=0.5)),
    'decoder.positional_query.size_modulation.type is None': dict(
        decoder=dict(positional_query=dict(size_modulation=None))
    ),
    "decoder.positional_query.position_scale.type is 'ScalarScale'": dict(
        decoder=dict(positional_query=dict(position_scale=dict(_delete_=True, type='ScalarScale')))
    ),
    'decoder.anchor_update.type is None': dict(decoder=dict(anchor_update=None)),
    'decoder.norm.type is ': dict(decoder=dict(final_norm=False)),
    'bbox_head.box_branches.1.type is ': dict(bbox_head=dict(per_layer=('box',))),
    'neck.convs.0.with_norm is True': dict(neck=dict(norm_cfg=dict(_delete_=True, type='GN', num_groups=4))),
    'backbone.deep_stem is True': dict(backbone=dict(deep_stem=True)),
    'backbone.strides is (1, 2, 2, 1)': dict(backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))),
    'model.backbone.num_stages is 3': dict(
        backbone=dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,)),
        neck=dict(in_channels=[32]),
    ),
    'has no equal of this detector: ': dict(encoder=dict(num_layers=0, position_scale=None)),
}


@pytest.mark.parametrize('reason', REFUSED)
def test_what_computes_something_else_is_refused_by_its_key(reason):
    overrides = REFUSED[reason]
    with pytest.raises(CheckpointError, match=re.escape(reason)):
        huggingface_config(build_ours(**overrides))
