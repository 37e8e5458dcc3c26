"""Every detector that the project has a config for, narrow and of few layers, and what it is made of."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from mmdet_dab.config import load_config
from tests.helpers import mixes
from tests.helpers.mmdet_models import shrunk as shrunk_mmdet
from tests.helpers.paths import CONFIGS

FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
#: mmdet's own detectors in our assembly, which no config of ours has whole; and what it says of its own.
MMDETS = {
    'mmdet::detr/detr_r50_8xb2-150e_coco.py': {},
    'mmdet::conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': {},
    'mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py': dict(num_patterns=3),
    'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': dict(num_feature_levels=2),
}
#: What configs for a dataset of one's own start from.
FURTHER = {
    'ImageNet start': '_base_/recipes/from_imagenet.py',
    'written for few images': '_base_/recipes/from_scratch.py',
}
NAMES = (*FILES, *MMDETS, *FURTHER)
#: What only training needs, or chooses numbers.
NO_STRUCTURE = {'matcher', 'train_cfg', 'init_cfg', 'data_preprocessor', 'initial_anchors', 'act_cfg', 'conv_cfg'}
#: Numbers that choose what is computed.
CHOICES = {
    'anchor_dims', 'fade', 'fixed_centers', 'learned_content', 'levels', 'num_patterns', 'offset',
    'per_layer', 'position_in_content', 'query_dim', 'reach',
}  # fmt: skip


def small(name: str) -> Config:
    """A config with its model at width 32 or so, of few layers and 7 queries; the same parts."""
    config = load_config(name if name.startswith('mmdet::') else str(CONFIGS / FURTHER.get(name, name)), {})
    if name in MMDETS:
        model = shrunk_mmdet(config, 256 if 'conditional' in name else 32, **copy.deepcopy(MMDETS[name]))
        model.bbox_head.embed_dims = model.neck.out_channels
        model.encoder.num_layers = 1
        if 'deformable' in name:
            model.neck.update(in_channels=[32], norm_cfg=None, num_outs=2)
            model.encoder.layer_cfg.self_attn_cfg.num_levels = 2
            model.decoder.layer_cfg.cross_attn_cfg.num_levels = 2
    elif config.model.type == 'ComposedDETR':
        model = small_parts(config.model)
    else:
        model = mixes.shrunk(config)
    config.model = model
    return config


def small_parts(model: ConfigDict) -> ConfigDict:
    """A detector of ours: narrow by the one value of the width."""
    model.update(embed_dims=32, hidden_dims=48, num_heads=4)
    backbone: Any = model.backbone
    backbone.init_cfg = None
    if backbone.type == 'SwinTransformer':
        backbone.update(embed_dims=8, depths=(1, 2), num_heads=(1, 2), strides=(4, 2), out_indices=(1,))
        model.neck.in_channels = [16]
    elif 'ResNet' in backbone.type:
        bottleneck = backbone.depth > 50  # one of the two depths of the zoo
        backbone.update(depth=50 if bottleneck else 18, base_channels=4, stem_channels=4)
        if 'Dilated' not in backbone.type:  # a dilated one has its point in the last stage
            backbone.update(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
        model.neck.in_channels = [4 * 2**stage * (4 if bottleneck else 1) for stage in backbone.out_indices]
    if model.get('num_levels', 1) > 1:  # the last map of the backbone, and the further one that the neck makes
        model.num_levels, model.neck.in_channels = 2, model.neck.in_channels[-1:]
    model.encoder.num_layers, model.decoder.num_layers = 1, 2
    queries = model.query_generator
    queries.get('generator', queries).num_queries = 7
    model.bbox_head.selection.max_per_img = 9
    return model


def pieces(model: dict) -> frozenset[str]:
    """What a detector is made of, as far as a prediction goes: the type of every part in its place, and choices."""
    kind = model['type'].removeprefix('mmdet_dab.').removeprefix('mmdet.')
    implied = {f'{place} of mmdet: {kind.removeprefix("Mixed")}' for place in ('encoder', 'decoder')
               if 'type' not in model.get(place, {})}  # fmt: skip
    return frozenset(implied | set(_pieces(model, 'detector')))


def _pieces(node: Any, place: str) -> Iterator[str]:
    if isinstance(node, dict):
        kind = str(node.get('type', '')).rpartition('.')[2]
        if kind and place != 'detector':
            yield f'{"positional_encoder" if place == "positional_encoding" else place}: {kind}'
        for key, value in node.items():
            if key in CHOICES and value and value != 4:  # coordinates of an anchor, by default
                yield f'{key}={value}'
            if key not in NO_STRUCTURE and not key.startswith('loss'):
                yield from _pieces(value, key)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _pieces(item, place)
