"""The whole: switches act, contradictions are refused, users' parts fit, batches do not mix."""

from __future__ import annotations

import ast
import copy
import re
import sys
from collections import OrderedDict

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdet_dab.registry import MODELS, TASK_UTILS
from tests.helpers import tiny
from tests.helpers.paths import ROOT

# --- The paper's ablations, by config ---------------------------------------------------------------

SWITCHES = {
    'update off': dict(decoder=dict(anchor_update=None)),
    'eps of the update': dict(decoder=dict(anchor_update=dict(eps=0.3))),
    'modulation off': dict(decoder=dict(positional_query=dict(size_modulation=None))),
    'scalar scale': dict(decoder=dict(positional_query=dict(position_scale=dict(type='ScalarScale')))),
    'scale per layer': dict(decoder=dict(positional_query=dict(position_scale=dict(type='LayerScale')))),
    'no scale': dict(decoder=dict(positional_query=dict(position_scale=None))),
    '2-D anchors': dict(anchor_dims=2, decoder=dict(positional_query=dict(size_modulation=None))),
    'anchors encoded on the canvas': dict(decoder=dict(anchor_frame=dict(type='CanvasFrame'))),
    'temperature': dict(positional_encoder=dict(temperature=5)),
    'temperature of boxes': dict(positional_encoder=dict(box_temperature=10000)),
    'scale of the code': dict(positional_encoder=dict(scale=1.0)),
    'eps of the code': dict(positional_encoder=dict(eps=0.5)),
    'patterns': dict(query_generator=dict(num_patterns=2)),
    'grid anchors': dict(query_generator=dict(initial_anchors=dict(type='mmdet_dab.GridAnchors', size=0.2))),
    'number of queries': dict(query_generator=dict(num_queries=5)),
    'encoder layers': dict(encoder=dict(num_layers=2)),
    'no encoder layers': dict(encoder=dict(num_layers=0, position_scale=None)),
    'decoder layers': dict(decoder=dict(num_layers=2)),
    'encoder position scale off': dict(encoder=dict(position_scale=None)),
    'scalar scale in the encoder': dict(encoder=dict(position_scale=dict(type='ScalarScale'))),
    'scale per layer in the encoder': dict(encoder=dict(num_layers=2, position_scale=dict(type='LayerScale'))),
    'box branch per layer': dict(bbox_head=dict(per_layer=('box',))),
    'class branch per layer': dict(bbox_head=dict(per_layer=('class',))),
    'first layer like the others': dict(decoder=dict(first_layer=None)),
    'heads': dict(decoder=dict(layer=dict(cross_attention=dict(num_heads=4)))),
    'ReLU': dict(encoder=dict(layer=dict(feed_forward=dict(act_cfg=dict(type='ReLU'))))),
    'eps of the head': dict(bbox_head=dict(eps=0.3)),
}


def outputs(**overrides):
    with torch.no_grad():
        return tiny.build(**copy.deepcopy(overrides))(*tiny.batch(), mode='tensor')


@pytest.mark.parametrize('name', SWITCHES)
def test_switch_acts(name):
    """It builds, trains every parameter, and computes something else than the default."""
    logits, boxes = outputs(**SWITCHES[name])
    plain_logits, plain_boxes = outputs()
    assert torch.isfinite(boxes).all()
    same_shape = logits.shape == plain_logits.shape
    assert not (same_shape and torch.allclose(logits, plain_logits) and torch.allclose(boxes, plain_boxes))
    model = tiny.build(**copy.deepcopy(SWITCHES[name])).train()
    sum(model(*tiny.batch(), mode='loss').values()).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


@pytest.mark.parametrize('part', ['encoder', 'decoder'])
@pytest.mark.parametrize('where', ['layer', 'self_attention', 'feed_forward'])
def test_dropout_acts_in_training_only(part, where):
    layer = dict(dropout=0.5) if where == 'layer' else {where: dict(dropout=0.5)}
    model = tiny.build(**{part: dict(layer=layer)})
    pictures, samples = tiny.batch()
    with torch.no_grad():
        assert torch.equal(model(pictures, samples)[0], model(pictures, samples)[0])
        model.train()
        assert not torch.equal(model(pictures, samples)[0], model(pictures, samples)[0])


def test_prior_and_max_per_img_act():
    overrides = dict(class_scores=dict(prior=0.2), selection=dict(max_per_img=4))
    model = MODELS.build(tiny.tiny_config(bbox_head=overrides))
    model.init_weights()
    assert model.bbox_head.class_branch.bias.sigmoid().tolist() == pytest.approx([0.2] * 3)
    pictures, samples = tiny.batch()
    with torch.no_grad():
        assert len(model.eval()(pictures, samples, mode='predict')[0].pred_instances) == 4


# --- Contradictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (
            dict(query_generator=dict(anchor_dims=2)),
            r'query_generator \(AnchorQueryGenerator\) has anchor_dims=2, but '
            r'decoder.positional_query \(AnchorPositionalQuery\) has anchor_dims=4',
        ),
        (
            dict(decoder=dict(positional_query=dict(anchor_dims=2))),
            r'query_generator.*anchor_dims=4.*decoder.positional_query \(AnchorPositionalQuery\) has anchor_dims=2',
        ),
        (
            dict(anchor_dims=2),
            r'anchor_dims=2.*decoder.positional_query.size_modulation \(SizeModulation\) has anchor_dims=4',
        ),
        (
            dict(encoder=dict(layer=dict(self_attention=dict(embed_dims=64)))),
            r'embed_dims=32.*encoder.layers.0.self_attention \(CellSelfAttention\) has embed_dims=64',
        ),
        (dict(positional_encoder=dict(embed_dims=30)), r'embed_dims=30 is not a multiple of 4'),
        (dict(decoder=dict(layer=dict(self_attention=dict(num_heads=5)))), r'num_heads=5 does not divide'),
        (
            dict(bbox_head=dict(per_layer=('box',), num_layers=6)),
            r'decoder \(TransformerDecoder\) has num_layers=3, but bbox_head \(SetPredictionHead\) has num_layers=6',
        ),
        (dict(bbox_head=dict(per_layer=('size',))), r"SetPredictionHead: per_layer=\('size',\) must be of 'class'"),
        (
            dict(decoder=dict(positional_query=dict(position_scale=dict(type='LayerScale', num_layers=6)))),
            r'num_layers=3.*decoder.positional_query \(AnchorPositionalQuery\) has num_layers=6',
        ),
        (
            dict(encoder=dict(position_scale=dict(type='LayerScale', num_layers=6))),
            r'TransformerEncoder: position_scale.num_layers=6 must be num_layers=1',
        ),
        (
            dict(decoder=dict(positional_query=dict(position_scale=dict(type='LayerScale', num_layers=0)))),
            r'LayerScale: num_layers=0 must be at least 1',
        ),
        (
            dict(encoder=dict(position_scale=dict(embed_dims=64))),
            r'embed_dims=32.*encoder.position_scale \(ContentScale\) has embed_dims=64',
        ),
        (
            dict(decoder=dict(positional_query=dict(size_modulation=dict(embed_dims=64)))),
            r'embed_dims=32.*decoder.positional_query.size_modulation \(SizeModulation\) has embed_dims=64',
        ),
        (dict(decoder=dict(layer=dict(self_attention=dict(num_heads=0)))), r'num_heads=0 does not divide'),
        (
            dict(bbox_head=dict(class_scores=dict(prior=1.0))),
            r'SigmoidScores: prior=1.0 must be between 0 and 1',
        ),
        (dict(bbox_head=dict(eps=0)), r'SetPredictionHead: eps=0 must be between 0 and 0.5'),
        (dict(bbox_head=dict(selection=dict(max_per_img=0))), r'BestPredictions: max_per_img=0 must be at least 1'),
        (dict(bbox_head=dict(num_classes=0)), r'SigmoidScores: num_classes=0 must be at least 1'),
        (dict(positional_encoder=dict(temperature=0)), r'temperature=0 must be positive'),
        (dict(encoder=dict(num_layers=0)), r'TransformerEncoder: position_scale=.* must be None'),
        (dict(decoder=dict(num_layers=1)), r'several_layers=False, but decoder.positional_query'),
    ],
)
def test_contradiction_is_refused_when_built(overrides, message):
    with pytest.raises((ValueError, AssertionError), match=message):
        MODELS.build(tiny.tiny_config(**overrides))


@pytest.mark.parametrize(
    ('neck', 'message'),
    [
        (
            dict(out_channels=64),
            'neck.out_channels (ChannelMapper) has embed_dims=64, but positional_encoder (SinePositionalEncoder) has '
            'embed_dims=32: give both the same value',
        ),
        (
            dict(num_outs=2),
            'neck.num_outs (ChannelMapper) has maps=2, but tokenizer (ImageTokenizer) has maps=1: give both the same '
            'number, or choose maps by levels of the tokenizer',
        ),
    ],
)
def test_neck_that_does_not_fit_is_refused_when_built(neck, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MODELS.build(tiny.tiny_config(neck=neck))


def test_neck_that_says_nothing_of_its_maps_is_named():
    """Dilated encoder and the like, or a user's own: known at the first image only."""
    model = tiny.build(neck=dict(num_outs=None, in_channels=[16, 32]), backbone=dict(out_indices=(1, 2)))
    with pytest.raises(
        ValueError, match=r'expects 1 feature map\(s\) of 32 channels, but the neck gave 2 with \[32, 32\]'
    ):
        model(*tiny.batch(), mode='tensor')


def test_queries_without_anchors_are_named():
    model = tiny.build()
    queries = model.query_generator.forward

    def without_anchors(*args):
        return type(queries(*args))(queries(*args).content)

    model.query_generator.forward = without_anchors
    with pytest.raises(ValueError, match='AnchorPositionalQuery needs queries with anchors'):
        model(*tiny.batch(), mode='tensor')


# --- Parts of a user's own --------------------------------------------------------------------------

USER_FILE = '''
import torch
from torch import nn
from mmdet.registry import MODELS  # any registry that the config's scope finds
from mmdet_dab.models import AnchorUpdate, QueryPosition

@MODELS.register_module()
class HalfwayUpdate(AnchorUpdate):
    """Moves anchors half as far."""
    def move(self, anchors, delta):
        return super().move(anchors, 0.5 * delta)

@MODELS.register_module()
class PlainPositionalQuery(nn.Module):
    """No scale, no modulation, no MLP: the code itself."""
    def __init__(self, embed_dims):
        super().__init__()
        self.embed_dims = embed_dims
    def forward(self, queries, layer, positional_encoder):
        code = positional_encoder.boxes(queries.anchors)[..., :self.embed_dims]
        return QueryPosition(code, code)

@MODELS.register_module()
class MeanCrossAttention(nn.Module):
    """Every query sees the mean of the image."""
    def forward(self, content, position, anchors, tokens):
        return tokens.content.mean(1, keepdim=True).expand_as(content)
'''


def test_users_parts_take_the_place_of_ours(tmp_path, monkeypatch):
    """A file outside the package, named in a config: nothing else changes."""
    (tmp_path / 'my_parts.py').write_text(USER_FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'config.py').write_text(
        f"""
_base_ = '{ROOT}/configs/_base_/models/dab_detr_small.py'
custom_imports = dict(imports=['my_parts'], allow_failed_imports=False)
model = dict(decoder=dict(
    anchor_update=dict(_delete_=True, type='HalfwayUpdate'),
    positional_query=dict(_delete_=True, type='PlainPositionalQuery', embed_dims=128),
    layer=dict(cross_attention=dict(_delete_=True, type='MeanCrossAttention'))))
"""
    )
    model = MODELS.build(Config.fromfile(tmp_path / 'config.py').model)
    mine = sys.modules['my_parts']
    assert isinstance(model.decoder.anchor_update, mine.HalfwayUpdate)
    assert isinstance(model.decoder.positional_query, mine.PlainPositionalQuery)
    assert all(isinstance(layer.cross_attention, mine.MeanCrossAttention) for layer in model.decoder.layers)
    model.init_weights()
    tiny.shake(model)
    pictures, samples = tiny.batch()
    references = model.eval().decode(pictures, samples).references
    assert not torch.allclose(references[0], references[1])
    assert sum(model.train()(pictures, samples, mode='loss').values()).isfinite()


def test_no_part_names_another_part():
    """In the source: a part's class appears in its own file, where another is derived from it, and in the file that
    lists them all."""
    names = set(MODELS.module_dict)
    for path in sorted((ROOT / 'mmdet_dab' / 'models').glob('*.py')):
        if path.name == '__init__.py':
            continue
        tree = ast.parse(path.read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        own = {node.name for node in classes}
        bases = {base.id for node in classes for base in node.bases if isinstance(base, ast.Name)}
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not (named & names) - own - bases, path.name
        assert not texts & {f'mmdet_dab.{name}' for name in names}, path.name


def test_detector_only_wires():
    """Its methods hold no arithmetic."""
    source = (ROOT / 'mmdet_dab/models/detector.py').read_text()
    tree = ast.parse(source)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr)]
    assert not re.search(r'\bF\.|torch\.(?!Tensor)', source)


# --- Batches ----------------------------------------------------------------------------------------


def single(pictures, samples, index):
    return pictures[index : index + 1], samples[index : index + 1]


def test_batched_equals_single_on_the_same_canvas():
    """Each image on the canvas of the batch, alone: the others do not matter."""
    model = tiny.build()
    pictures, samples = tiny.batch(sizes=[(64, 96), (48, 64), (96, 40)], counts=[1, 1, 1])
    with torch.no_grad():
        logits, boxes = model(pictures, samples)
        for index in range(3):
            alone_logits, alone_boxes = model(*single(pictures, samples, index))
            torch.testing.assert_close(alone_logits[:, 0], logits[:, index], rtol=0, atol=1e-5)
            torch.testing.assert_close(alone_boxes[:, 0], boxes[:, index], rtol=0, atol=1e-5)


class Features(torch.nn.Module):
    """Stands for backbone and neck: feature maps that are the same with and without a padded canvas."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def forward(self, inputs):
        return (self.maps,)


def test_padding_of_the_canvas_does_not_matter():
    """From the feature maps on, an image alone at its own size equals itself in a padded batch.

    (Before them, the backbone's convolutions see the padding, in the released code as here.)
    """
    model = tiny.build()
    model.backbone = torch.nn.Identity()
    sizes = [(64, 96), (48, 64)]
    maps = torch.randn(2, tiny.WIDTH, 4, 6)  # stride 16; what lies in the padding is random, too
    pictures, samples = tiny.batch(sizes=sizes)
    with torch.no_grad():
        model.neck = Features(maps)
        logits, boxes = model(pictures, samples)
        for index, (height, width) in enumerate(sizes):
            model.neck = Features(maps[index : index + 1, :, : height // 16, : width // 16])
            picture = pictures[index : index + 1, :, :height, :width]
            alone_logits, alone_boxes = model(picture, samples[index : index + 1])
            torch.testing.assert_close(alone_logits[:, 0], logits[:, index], rtol=0, atol=1e-5)
            torch.testing.assert_close(alone_boxes[:, 0], boxes[:, index], rtol=0, atol=1e-5)


def test_tensor_mode_needs_no_data_samples():
    """Without them nothing is padded."""
    model = tiny.build()
    pictures, samples = tiny.batch(sizes=[(64, 64)], counts=[1])
    with torch.no_grad():
        logits, boxes = model(pictures)
        expected, _ = model(pictures, samples)
    assert torch.equal(logits, expected)
    assert logits.shape == (3, 1, 7, 3)
    assert boxes.shape == (3, 1, 7, 4)
    assert ((boxes > 0) & (boxes < 1)).all()


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_low_precision(dtype):
    """Under autocast, and with weights of low precision: finite, close, and losses in float32."""
    model = tiny.build()
    pictures, samples = tiny.batch()
    with torch.no_grad():
        expected = model(pictures, samples)[1]
        with torch.autocast('cpu', dtype):
            boxes = model(pictures, samples)[1]
            losses = model(pictures, samples, mode='loss')
        half = model.to(dtype)(pictures.to(dtype), samples)[1]
    assert (boxes.float() - expected).abs().max() < 0.1
    assert (half.float() - expected).abs().max() < 0.1
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


# --- Every part on its own --------------------------------------------------------------------------


@pytest.mark.parametrize(
    'path',
    [
        'positional_encoder',
        'tokenizer',
        'encoder',
        'encoder.layer',
        'encoder.layer.self_attention',
        'encoder.layer.feed_forward',
        'query_generator',
        'decoder',
        'decoder.positional_query',
        'decoder.positional_query.position_scale',
        'decoder.positional_query.size_modulation',
        'decoder.anchor_update',
        'decoder.layer',
        'decoder.layer.self_attention',
        'decoder.layer.cross_attention',
        'decoder.layer.feed_forward',
        'bbox_head.loss_cls',
        'bbox_head.selection',
        'bbox_head.matcher',
        'bbox_head.matcher.costs.0',
        'query_generator.initial_anchors',
    ],
)
def test_part_builds_alone_without_a_default_scope(path, monkeypatch):
    """From its config dict, in a process that never heard of mmdet's scope."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    config = tiny.tiny_config()
    for key in path.split('.'):
        config = config[int(key)] if key.isdigit() else config[key]
    registry = TASK_UTILS if 'matcher' in path or 'initial' in path else MODELS
    assert type(registry.build(config)) is registry.get(config.type)


def test_recomputed_activations_train_alike_in_less_memory():
    """The same loss, gradients within rounding, and fewer tensors kept for the backward pass."""
    found = []
    for recompute in (False, True):
        model = tiny.build(encoder=dict(recompute=recompute), backbone=dict(with_cp=recompute)).train()
        batch, samples = tiny.batch()
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            loss = sum(model(batch, samples, mode='loss').values())
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append((loss.item(), gradients, sum(kept)))
    (loss, gradients, kept), (again, gradients_again, kept_less) = found
    assert loss == again
    assert gradients.keys() == gradients_again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[name], gradient, rtol=1e-6, atol=1e-7)
    assert kept_less < 0.8 * kept
