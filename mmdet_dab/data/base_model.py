"""What a training run builds on: the small model, or a checkpoint and the config that it fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmdet_dab.checkpoints import config_name, read_source, recognise
from mmdet_dab.checkpoints.class_rows import class_tensors
from mmdet_dab.checkpoints.known_layouts import OURS
from mmdet_dab.checkpoints.match import check_values
from mmdet_dab.config import build_detector
from mmdet_dab.engine.trust import named
from mmdet_dab.errors import CheckpointError, DataError, listed
from mmdet_dab.models.imagenet_wheel import wheel_file
from mmdet_dab.models.layers import current_names
from mmdet_dab.released import RELEASED, find_released

#: The small model from random weights, and all that its training run needs.
FROM_SCRATCH = ('_base_/recipes/from_scratch.py',)
#: The small model on a backbone that knows ImageNet, and all that its training run needs.
FROM_IMAGENET = ('_base_/recipes/from_imagenet.py',)
#: The same model from a checkpoint; a checkpoint may come from one without denoising.
SMALL = ('_base_/models/dn_detr_small.py', '_base_/recipes/few_images.py')
SMALL_PLAIN = ('_base_/models/dab_detr_small.py', '_base_/recipes/few_images.py')
SMALL_LITE = ('_base_/models/dab_detr_lite0.py', '_base_/recipes/few_images.py')
#: What a start can be, beside the file or the name of a detector.
STARTS = ('auto', 'scratch', 'imagenet')
#: What `auto` takes where a GPU trains it in reasonable time.
STRONGEST = 'dab_detr_r50'
#: Side of the image that the stride is found with.
PROBE = 256


@dataclass(frozen=True)
class BaseModel:
    """The configs to build on, and where the weights come from.

    Attributes:
        bases: configs, relative to ``configs/``.
        stride: of the finest feature map, pixels.
        checkpoint: file or address of all weights; None: random ones, but for a backbone that
            knows ImageNet.
        num_queries: of the checkpoint.
        known: classes that it knows and that are asked for.
        denoising: whether the query generator of the bases denoises, and has the anchors' generator
            in it.
        why: this start and no other.
    """

    bases: tuple[str, ...]
    stride: int
    checkpoint: str | None = None
    num_queries: int | None = None
    known: tuple[str, ...] = ()
    denoising: bool = False
    why: str = ''

    @property
    def small(self) -> bool:
        """Whether it is the small model, trained on a few images; else one that knows COCO."""
        return self.bases in (FROM_SCRATCH, FROM_IMAGENET, SMALL, SMALL_PLAIN, SMALL_LITE)

    @property
    def imagenet(self) -> bool:
        """Whether only the backbone has learned something, from ImageNet."""
        return self.bases == FROM_IMAGENET


def choose(start: str, configs: Path, classes: Sequence[str]) -> BaseModel:
    """What a start means.

    Args:
        start: ``'scratch'``; ``'imagenet'``, the small model with a backbone from ImageNet;
            ``'auto'``, the strongest start that can be reached; a checkpoint, by its file or
            address; or the name of a released detector.
        configs: the folder of the project's configs.
        classes: that shall be found.

    Raises:
        DataError: the checkpoint is of another kind of model.
        CheckpointError: it cannot be read or reached, or there is none of this name.
    """
    if start == 'auto':
        return _strongest(configs, classes)
    if start == 'scratch':
        return from_scratch(configs)
    if start == 'imagenet':
        return from_imagenet(configs)
    if re.fullmatch(r'[\w.-]+/[\w.-]+', start) and not Path(start).suffix and not Path(start).exists():
        raise CheckpointError(f'{start}: there is no such file. A repository on the hub is named hf://{start}')
    if '://' in start or '/' in start or Path(start).suffix or Path(start).exists():
        return from_checkpoint(start, configs, classes)
    return from_checkpoint(find_released(start, STARTS).address, configs, classes)


def _strongest(configs: Path, classes: Sequence[str]) -> BaseModel:
    """On a GPU a detector that knows COCO; on a CPU the small model, which takes minutes."""
    if torch.cuda.is_available():
        address = RELEASED[STRONGEST].address
        try:
            base = from_checkpoint(address, configs, classes)
        except CheckpointError as error:
            reason = f'{STRONGEST} cannot be reached ({error})'
        else:
            return replace(base, why=f'It is the strongest start that can be reached, {STRONGEST}, as there is a GPU.')
    else:
        reason = 'without a GPU, a larger detector would take days'
    try:
        base = from_imagenet(configs)
    except CheckpointError as error:
        return replace(from_scratch(configs), why=f'Random weights, for want of a stronger start: {reason}; {error}.')
    return replace(base, why=f'A small model whose backbone knows ImageNet: {reason}.')


def from_scratch(configs: Path) -> BaseModel:
    """Random weights in the small model.

    Args:
        configs: the folder of the project's configs.
    """
    return BaseModel(FROM_SCRATCH, _stride(build_detector(_model(configs, FROM_SCRATCH))), denoising=True)


def from_imagenet(configs: Path) -> BaseModel:
    """The small model on EfficientNet-Lite0, which starts from ImageNet's weights.

    Raises:
        CheckpointError: the package with these weights is not installed.
    """
    cfg = _model(configs, FROM_IMAGENET)
    wheel_file(cfg.model.backbone.get('arch', 0))
    return BaseModel(FROM_IMAGENET, _stride(build_detector(cfg)), denoising=True)


def from_checkpoint(path: str | Path, configs: Path, classes: Sequence[str]) -> BaseModel:
    """Find the config whose model a checkpoint fits, tensor by tensor.

    Args:
        path: file of a checkpoint of ours, or an address on the hub, whose weights are converted.
        configs: the folder of the project's configs.
        classes: that shall be found.

    Raises:
        DataError: it is in a foreign layout, or fits none of the configs that are tried.
        CheckpointError: it cannot be read, or holds weights that are no finite numbers.
    """
    source = path if isinstance(path, str) and '://' in path else Path(path).as_posix()
    checkpoint = read_source(source)
    state, meta = checkpoint['state_dict'], checkpoint.get('meta') or {}
    with named(path):
        layout = recognise(state)
    if layout is not OURS:
        raise DataError(
            f'checkpoint {path}: it is in the layout of {layout.source}. Bring it in with '
            f'mmdet-dab convert {path} NEW.pth'
        )
    anchors = [name for name in ('query_generator.sizes', 'query_generator.generator.sizes') if name in state]
    if not anchors:
        raise DataError(f'checkpoint {path}: it has no anchor boxes of its own. Give that of a DAB-DETR.')
    likely = (meta.get('converted_from') or {}).get('config'), config_name(state), 'dab_detr_r50_50e.py'
    tried: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(likely) if name and (configs / name).is_file()]
    tried += [SMALL, SMALL_PLAIN, SMALL_LITE]
    reasons = []
    num_queries = len(state[anchors[0]])
    for bases in tried:
        cfg = _model(configs, bases, num_queries)
        model = build_detector(cfg)
        reason = _misfit(model, state)
        if not reason:
            with named(path):
                check_values(current_names(model, state), model.state_dict())
            old = (meta.get('dataset_meta') or {}).get('classes') or ()
            known = tuple(name for name in classes if name in old)
            denoising = 'generator' in cfg.model.query_generator
            return BaseModel(bases, _stride(model), source, num_queries, known, denoising)
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
