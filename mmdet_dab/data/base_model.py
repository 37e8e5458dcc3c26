"""What a training run builds on: the small model, or a checkpoint and the config that it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmdet_dab.checkpoints import config_name, read_weights, recognise
from mmdet_dab.checkpoints.class_rows import class_tensors
from mmdet_dab.checkpoints.known_layouts import OURS
from mmdet_dab.config import build_detector
from mmdet_dab.errors import DataError, listed
from mmdet_dab.models.layers import current_names

#: The small model from random weights, and all that its training run needs.
FROM_SCRATCH = ('_base_/recipes/from_scratch.py',)
#: The same model from a checkpoint; a checkpoint may come from one without denoising.
SMALL = ('_base_/models/dn_detr_small.py', '_base_/recipes/few_images.py')
SMALL_PLAIN = ('_base_/models/dab_detr_small.py', '_base_/recipes/few_images.py')
#: Side of the image that the stride is found with.
PROBE = 256


@dataclass(frozen=True)
class BaseModel:
    """The configs to build on, and where the weights come from.

    Attributes:
        bases: configs, relative to ``configs/``.
        stride: of the finest feature map, pixels.
        checkpoint: file; None: random weights.
        num_queries: of the checkpoint.
        known: classes that it knows and that are asked for.
        denoising: whether the query generator of the bases denoises, and has the anchors' generator
            in it.
    """

    bases: tuple[str, ...]
    stride: int
    checkpoint: Path | None = None
    num_queries: int | None = None
    known: tuple[str, ...] = ()
    denoising: bool = False

    @property
    def small(self) -> bool:
        """Whether it is the small model, trained on a few images; else one that knows COCO."""
        return self.bases in (FROM_SCRATCH, SMALL, SMALL_PLAIN)


def from_scratch(configs: Path) -> BaseModel:
    """Random weights in the small model.

    Args:
        configs: the folder of the project's configs.
    """
    return BaseModel(FROM_SCRATCH, _stride(build_detector(_model(configs, FROM_SCRATCH))), denoising=True)


def from_checkpoint(path: Path, configs: Path, classes: Sequence[str]) -> BaseModel:
    """Find the config whose model a checkpoint fits, tensor by tensor.

    Args:
        path: of a checkpoint of ours.
        configs: the folder of the project's configs.
        classes: that shall be found.

    Raises:
        DataError: it is in a foreign layout, or fits none of the configs that are tried.
        CheckpointError: it cannot be read.
    """
    state, meta = read_weights(path)
    layout = recognise(state)
    if layout is not OURS:
        raise DataError(
            f'checkpoint {path}: it is in the layout of {layout.source}. Bring it in with '
            f'mmdet-dab convert {path} NEW.pth'
        )
    anchors = [name for name in ('query_generator.sizes', 'query_generator.generator.sizes') if name in state]
    if not anchors:
        raise DataError(f'checkpoint {path}: it has no anchor boxes of its own. Give that of a DAB-DETR.')
    named = (meta.get('converted_from') or {}).get('config'), config_name(state), 'dab_detr_r50_50e.py'
    tried: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(named) if name and (configs / name).is_file()]
    tried += [SMALL, SMALL_PLAIN]
    reasons = []
    num_queries = len(state[anchors[0]])
    for bases in tried:
        cfg = _model(configs, bases, num_queries)
        model = build_detector(cfg)
        reason = _misfit(model, state)
        if not reason:
            old = (meta.get('dataset_meta') or {}).get('classes') or ()
            known = tuple(name for name in classes if name in old)
            return BaseModel(bases, _stride(model), path, num_queries, known, 'generator' in cfg.model.query_generator)
        reasons.append(f'{bases[0]}: {reason}')
    raise DataError(
        f'checkpoint {path}: it fits none of the configs that were tried ({"; ".join(reasons)}). Write a config '
        'whose _base_ is the one that it was trained with.'
    )


def _model(configs: Path, bases: Sequence[str], num_queries: int | None = None) -> Config:
    """The first base, which is the one with the model, and the checkpoint's number of queries."""
    cfg = Config.fromfile(configs / bases[0])
    if num_queries is not None:
        generator = cfg.model.query_generator
        generator.get('generator', generator).num_queries = num_queries
    return cfg


def _misfit(model: nn.Module, state: dict[str, Tensor]) -> str:
    """What is missing or of another shape; class rows are matched when they are loaded."""
    own, state = model.state_dict(), current_names(model, state)
    matched = set(class_tensors(model))
    missing = [name for name in own if name not in state and not name.endswith('num_batches_tracked')]
    foreign = [name for name in state if name not in own]
    other = [name for name in own if name in state and name not in matched and own[name].shape != state[name].shape]
    parts = [('lacks', missing), ('has besides', foreign), ('has another shape of', other)]
    return ', '.join(f'it {verb} {listed(names, 2)}' for verb, names in parts if names)


@torch.no_grad()
def _stride(model: nn.Module) -> int:
    features = model.get_submodule('backbone')(torch.zeros(1, 3, PROBE, PROBE))
    return PROBE // max(feature.shape[-1] for feature in features)
