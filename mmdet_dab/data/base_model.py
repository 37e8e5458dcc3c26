"""What a training starts from: the small model from scratch, or a checkpoint and the config that it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmdet_dab.analysis.building import build_detector
from mmdet_dab.checkpoints import config_name, read_weights, recognise
from mmdet_dab.checkpoints.class_rows import class_tensors
from mmdet_dab.checkpoints.known_layouts import OURS
from mmdet_dab.errors import DataError, listed

COMMON = ('_base_/datasets/coco_detection.py', '_base_/schedules/schedule_50e.py', '_base_/default_runtime.py')
SCRATCH = ('_base_/models/dn_detr_small.py', *COMMON)
#: The same without denoising; checkpoints may come from it.
PLAIN = ('_base_/models/dab_detr_small.py', *COMMON)
#: Side of the picture that the stride is found with.
PROBE = 256


@dataclass(frozen=True)
class Start:
    """Where the weights come from.

    Attributes:
        bases: configs to build on, relative to ``configs/``.
        stride: of the finest feature map, pixels.
        checkpoint: file; None: random weights.
        num_queries: of the checkpoint.
        known: classes that it knows and that are asked for.
        denoising: whether the query generator of the bases denoises, and has the anchors' generator in it.
    """

    bases: tuple[str, ...]
    stride: int
    checkpoint: Path | None = None
    num_queries: int | None = None
    known: tuple[str, ...] = ()
    denoising: bool = False

    @property
    def small(self) -> bool:
        """Whether it is the small model, which is trained from scratch on a few pictures; else one that knows COCO."""
        return self.bases in (SCRATCH, PLAIN)


def from_scratch(configs: Path) -> Start:
    """Random weights in the small model.

    Args:
        configs: the repository's ``configs/``.
    """
    return Start(SCRATCH, _stride(build_detector(_model(configs, SCRATCH))), denoising=True)


def from_checkpoint(path: Path, configs: Path, classes: Sequence[str]) -> Start:
    """Find the config whose model a checkpoint fits, tensor by tensor.

    Args:
        path: of a checkpoint of ours.
        configs: the repository's ``configs/``.
        classes: that shall be found.

    Raises:
        DataError: it is in a foreign layout, or fits none of the configs that are tried.
        CheckpointError: it cannot be read.
    """
    state, meta = read_weights(path)
    layout = recognise(state)
    if layout is not OURS:
        raise DataError(
            f'checkpoint {path} is in the layout of {layout.source}: bring it in with '
            f'python tools/convert_weights.py {path} NEW.pth'
        )
    anchors = [name for name in ('query_generator.sizes', 'query_generator.generator.sizes') if name in state]
    if not anchors:
        raise DataError(f'checkpoint {path} has no anchor boxes of its own, as that of a DAB-DETR has')
    named = (meta.get('converted_from') or {}).get('config'), config_name(state), 'dab_detr_r50_50e.py'
    tried: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(named) if name and (configs / name).is_file()]
    tried += [SCRATCH, PLAIN]
    reasons = []
    num_queries = len(state[anchors[0]])
    for bases in tried:
        cfg = _model(configs, bases, num_queries)
        model = build_detector(cfg)
        reason = _misfit(model, state)
        if not reason:
            old = (meta.get('dataset_meta') or {}).get('classes') or ()
            known = tuple(name for name in classes if name in old)
            return Start(bases, _stride(model), path, num_queries, known, 'generator' in cfg.model.query_generator)
        reasons.append(f'{bases[0]}: {reason}')
    raise DataError(
        f'checkpoint {path} fits none of the configs that were tried ({"; ".join(reasons)}): write a config '
        'whose _base_ is the one that it was trained with'
    )


def _model(configs: Path, bases: Sequence[str], num_queries: int | None = None) -> Config:
    """The first base, which is the one with the model, and the checkpoint's number of queries."""
    cfg = Config.fromfile(configs / bases[0])
    if num_queries is not None:
        generator = cfg.model.query_generator
        generator.get('generator', generator).num_queries = num_queries
    return cfg


def _misfit(model: nn.Module, state: dict[str, Tensor]) -> str:
    """What is missing or of another shape; class rows are fitted when they are loaded."""
    own = model.state_dict()
    fitted = set(class_tensors(model))
    missing = [name for name in own if name not in state and not name.endswith('num_batches_tracked')]
    foreign = [name for name in state if name not in own]
    other = [name for name in own if name in state and name not in fitted and own[name].shape != state[name].shape]
    parts = [('misses', missing), ('has besides', foreign), ('has another shape of', other)]
    return ', '.join(f'it {verb} {listed(names, 2)}' for verb, names in parts if names)


@torch.no_grad()
def _stride(model: nn.Module) -> int:
    features = model.get_submodule('backbone')(torch.zeros(1, 3, PROBE, PROBE))
    return PROBE // max(feature.shape[-1] for feature in features)
