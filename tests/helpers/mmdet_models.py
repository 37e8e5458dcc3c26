"""The detectors that come with mmdet, made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmdet
from mmengine.config import Config, ConfigDict

#: Half a ResNet-18 up to stride 16, with statistics of batch norm that stay.
BACKBONE = dict(
    depth=18,
    base_channels=8,
    stem_channels=8,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
    norm_cfg=dict(_delete_=True, type='BN', requires_grad=False),
    init_cfg=None,
)


def their_config(name: str) -> Config:
    """A config that comes with mmdet."""
    return Config.fromfile(Path(mmdet.__file__).with_name('.mim') / 'configs' / f'{name}.py')


def replace_everywhere(config: ConfigDict, **values: Any) -> None:
    """Set every key of these names, wherever it stands."""
    for key, value in config.items():
        if key in values:
            config[key] = values[key]
        elif isinstance(value, dict):
            replace_everywhere(value, **values)


def shrunk(config: Config, width: int, **changes: Any) -> ConfigDict:
    """The model of a config: 2 + 2 layers, 7 queries, 3 classes; what else it says stays."""
    sizes = dict(embed_dims=width, num_layers=2, num_queries=7, num_classes=3, max_per_img=5, num_feats=width // 2)
    replace_everywhere(config.model, **sizes, hidden_dims=64, feedforward_channels=64, in_channels=[32])
    config.merge_from_dict(dict(model=dict(backbone=BACKBONE, neck=dict(out_channels=width), **changes)))
    return config.model
