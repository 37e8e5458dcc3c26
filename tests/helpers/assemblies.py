"""One small detector of every kind of assembly: ours, mmdet's with parts of ours, and mmdet's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import ConfigDict
from torch import nn

from mmdet_dab.config import load_config
from mmdet_dab.registry import MODELS
from tests.helpers import mixes, tiny
from tests.helpers.mmdet_models import shrunk, their_config
from tests.helpers.paths import CONFIGS


def ours(name: str, **overrides: Any) -> ConfigDict:
    return tiny.shrunk_config(name, **overrides)


def wrapped(kind: str, **arguments: Any) -> ConfigDict:
    """DAB-DETR whose queries come from a generator around the ordinary one."""
    config = ours('dab_detr_r50')
    config.query_generator = ConfigDict(type=kind, generator=config.query_generator, **arguments)
    return config


def two_stages() -> ConfigDict:
    """DAB-DETR whose anchors come from the encoder."""
    config = ours('dab_detr_r50')
    generator = dict(type='EncoderQueryGenerator', num_queries=7, num_classes=3, embed_dims=tiny.WIDTH)
    config.query_generator = ConfigDict(generator)
    return config


def masked(**arguments: Any) -> ConfigDict:
    """DAB-DETR that looks inside its anchors, from the second layer on."""
    config = ours('dab_detr_r50')
    config.decoder.layer.cross_attention.update(type='AnchorMaskedCrossAttention', **arguments)
    config.decoder.first_layer.cross_attention.update(type='AnchorMaskedCrossAttention', reach=None)
    return config


def mix(name: str) -> ConfigDict:
    return mixes.shrunk(load_config(str(CONFIGS / 'mix' / f'{name}.py'), {}))


def theirs(name: str) -> ConfigDict:
    return mixes.shrunk(their_config(name))


#: Name -> its config, made when it is asked for.
ASSEMBLIES: dict[str, Callable[[], ConfigDict]] = {
    'DETR': lambda: ours('detr_r50'),
    'Conditional DETR': lambda: ours('conditional_detr_r50'),
    'DAB-DETR': lambda: ours('dab_detr_r50'),
    'DAB-DETR, 2 patterns': lambda: ours('dab_detr_r50', query_generator=dict(num_patterns=2)),
    'DN': lambda: wrapped('DenoisingQueryGenerator'),
    'group': lambda: wrapped('GroupQueryGenerator', num_groups=2),
    'two stages': two_stages,
    'anchor-masked': masked,
    'anchor-masked, fading': lambda: masked(fade=4.0),
    'DAB-Deformable': lambda: ours('dab_deformable_detr_r50', neck=dict(in_channels=[8, 16, 32]), backbone=LEVELS),
    'deformable encoder': lambda: ours(
        'dab_detr_deformable_encoder_r50', neck=dict(in_channels=[8, 16, 32]), backbone=LEVELS
    ),
    **{name: (lambda name=name: mix(name)) for name in mixes.MIXES},
    "mmdet's DETR": lambda: theirs('detr/detr_r50_8xb2-150e_coco'),
    # mmdet's Conditional DETR encodes points in 256 channels, whatever its config says.
    "mmdet's ConditionalDETR": lambda: shrunk(their_config('conditional_detr/conditional-detr_r50_8xb2-50e_coco'), 256),
    "mmdet's DABDETR": lambda: theirs('dab_detr/dab-detr_r50_8xb2-50e_coco'),
    "mmdet's DeformableDETR": lambda: theirs('deformable_detr/deformable-detr_r50_16xb2-50e_coco'),
    "mmdet's DeformableDETR, refined": lambda: theirs('deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco'),
}
LEVELS = dict(out_indices=(0, 1, 2))


def build(name: str, **overrides: Any) -> nn.Module:
    """The detector in eval mode, with random weights that make its layers differ.

    Overrides are of DAB-DETR alone, as the other assemblies take none.
    """
    torch.manual_seed(0)
    config = ours('dab_detr_r50', **overrides) if overrides else ASSEMBLIES[name]()
    registry = MMDET_MODELS if name.startswith("mmdet's") else MODELS
    model = registry.build(config)
    model.init_weights()
    tiny.shake(model)
    return model.eval()
