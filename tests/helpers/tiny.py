"""A detector small enough to run many times, from the project's own config."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_dab.models.shared_values import hand_down
from mmdet_dab.registry import MODELS
from tests.helpers.golden import make_weight
from tests.helpers.mmdet_models import BACKBONE
from tests.helpers.paths import CONFIGS

WIDTH = 32
#: What can go wrong with a batch: arguments of :func:`batch`.
BATCHES = {
    'two sizes': dict(),
    'one image': dict(sizes=[(64, 96)], counts=[2]),
    'same size': dict(sizes=[(64, 64), (64, 64)], counts=[2, 4]),
    'one without objects': dict(counts=[3, 0]),
    'none with objects': dict(counts=[0, 0]),
    'more objects than queries': dict(counts=[9, 2]),
    'three sizes': dict(sizes=[(64, 96), (96, 64), (40, 50)], counts=[1, 5, 2]),
}


PARTS = ('neck', 'positional_encoder', 'tokenizer', 'encoder', 'query_generator', 'decoder', 'bbox_head')


def tiny_config(**overrides: Any) -> ConfigDict:
    """``_base_/models/dab_detr_small.py`` at width 32, with 3 classes and 7 queries; overrides are merged.

    Its parts have the shared values, so that a test can build any of them alone.
    """
    config = Config.fromfile(CONFIGS / '_base_/models/dab_detr_small.py')
    config.merge_from_dict(
        dict(
            model=dict(
                embed_dims=WIDTH,
                num_classes=3,
                backbone=dict(base_channels=8, stem_channels=8, norm_eval=True),
                neck=dict(in_channels=[32], norm_cfg=None),
                query_generator=dict(num_queries=7),
                bbox_head=dict(selection=dict(max_per_img=10)),
            )
        )
    )
    config.merge_from_dict({'model': overrides})
    return handed_down(config.model)


def handed_down(model: ConfigDict) -> ConfigDict:
    """The config of a detector whose parts have the shared values."""
    model = model.to_dict()
    parts = {name: model[name] for name in PARTS}
    shared = {name: value for name, value in model.items() if not isinstance(value, dict | str)}
    return Config(dict(model=model | hand_down(parts, dict(dict(embed_dims=256), **shared)))).model


def shrunk_config(name: str, width: int = WIDTH, **overrides: Any) -> ConfigDict:
    """The model of ``_base_/models/…``: 2 + 2 layers, 7 queries, 3 classes; what else it says stays."""
    config = Config.fromfile(CONFIGS / f'_base_/models/{name}.py')
    sizes = dict(embed_dims=width, hidden_dims=64, num_classes=3)
    parts = dict(
        backbone=BACKBONE,
        neck=dict(in_channels=[32]),
        encoder=dict(num_layers=2),
        query_generator=dict(num_queries=7),
        decoder=dict(num_layers=2),
        bbox_head=dict(selection=dict(max_per_img=5)),
    )
    config.merge_from_dict(dict(model=sizes | parts))
    config.merge_from_dict(dict(model=copy.deepcopy(overrides)))
    return handed_down(config.model)


def build(**overrides: Any) -> torch.nn.Module:
    """A tiny detector with weights that make its boxes differ between layers."""
    torch.manual_seed(0)
    model = MODELS.build(tiny_config(**overrides))
    model.init_weights()
    shake(model)
    return model.eval()


def shake(model: torch.nn.Module) -> None:
    """Set every parameter by its name, so that two models differ only where their parts do."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith('query_generator.'):  # initial anchors are a switch
                parameter.copy_(torch.from_numpy(make_weight(name, list(parameter.shape))))


def batch(
    sizes: list[tuple[int, int]] | None = None, counts: list[int] | None = None, seed: int = 2
) -> tuple[Tensor, list[DetDataSample]]:
    """Normalised images on a common canvas, with random objects of 3 classes.

    Args:
        sizes: (h, w) of every image; the canvas is the largest.
        counts: objects in every image.
    """
    sizes = sizes or [(64, 96), (48, 64)]
    counts = counts if counts is not None else [3, 1]
    generator = torch.Generator().manual_seed(seed)
    canvas = (max(h for h, _ in sizes), max(w for _, w in sizes))
    pictures = torch.zeros(len(sizes), 3, *canvas)
    samples = []
    for picture, (height, width), count in zip(pictures, sizes, counts, strict=True):
        picture[:, :height, :width] = torch.randn(3, height, width, generator=generator)
        low = torch.rand(count, 2, generator=generator) * 0.5
        high = low + 0.1 + torch.rand(count, 2, generator=generator) * 0.4
        boxes = torch.cat((low, high), 1) * torch.tensor([width, height, width, height])
        labels = torch.randint(3, (count,), generator=generator)
        sample = DetDataSample(gt_instances=InstanceData(bboxes=boxes, labels=labels))
        sample.set_metainfo(
            dict(
                img_shape=(height, width),
                ori_shape=(height * 2, width * 2),
                batch_input_shape=canvas,
                pad_shape=canvas,
                scale_factor=(0.5, 0.5),
            )
        )
        samples.append(sample)
    return pictures, samples
