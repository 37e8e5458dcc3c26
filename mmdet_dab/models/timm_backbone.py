"""Any feature extractor of timm as a backbone. timm is an optional dependency."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule, update_init_info
from torch import Tensor, nn

from mmdet_dab.errors import CheckpointError, ConfigError, listed, nearest
from mmdet_dab.registry import MODELS

INSTALL = "pip install 'mmdet_dab[timm]'"


def _timm() -> Any:
    try:
        return importlib.import_module('timm')
    except ImportError as error:
        raise ConfigError(f'TimmBackbone: timm cannot be imported ({error}). Run `{INSTALL}`') from error


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm that gives feature maps (``features_only``).

    Weights are loaded by ``init_weights``, not while building: a model that is built to load a
    checkpoint of ours reads no other file. Pixels have to be normalised as the model was trained:
    255 times ``mean`` and ``std`` of ``timm.get_pretrained_cfg(name)``.

    Args:
        model: timm's name, with a tag for certain weights, such as ``resnet18.a1_in1k``.
        strides: of the wanted maps, rising. Of several maps of one stride, the last is taken.
        weights: None for random ones; ``'timm'`` for those that timm downloads, or has in the cache
            of huggingface_hub (``HF_HUB_OFFLINE=1`` uses the cache alone); else a local file in
            timm's layout.
        norm_eval: batch norms keep their statistics in training.
        norm_frozen: nor do they learn scale and shift.
        drop_path_rate: for models that have it; 0 leaves it out.
        model_args: further arguments of timm's model, such as ``img_size`` for transformers.
        init_cfg: see mmengine's BaseModule.

    Raises:
        ConfigError: timm is missing, does not know the model or an argument, or has no map of a
            stride.
    """

    def __init__(
        self,
        model: str,
        strides: Sequence[int] = (8, 16, 32),
        weights: str | None = 'timm',
        norm_eval: bool = True,
        norm_frozen: bool = True,
        drop_path_rate: float = 0.0,
        model_args: dict[str, Any] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        timm = _timm()
        self.model, self.weights, self.norm_eval = model, weights, norm_eval
        if not timm.is_model(model):
            meant = nearest(model, timm.list_models())
            hint = f'Did you mean {listed(meant)}?' if meant else '`timm.list_models()` has their names'
            raise ConfigError(f'TimmBackbone: model={model!r} is none of timm {timm.__version__}. {hint}')
        self.arguments = dict(model_args or {}, features_only=True)
        if drop_path_rate:
            self.arguments['drop_path_rate'] = drop_path_rate
        self.arguments['out_indices'] = self._indices(strides)
        self.body: Any = self._create()
        self.out_channels = tuple(self.body.feature_info.channels())
        #: Whether maps come as (B, H, W, C).
        self.channels_last = str(getattr(self.body, 'output_fmt', 'NCHW')).endswith('NHWC')
        if norm_frozen:
            for norm in self._norms():
                norm.requires_grad_(False)

    def _create(self) -> Any:
        try:
            return _timm().create_model(self.model, **self.arguments)
        except (TypeError, RuntimeError, AssertionError) as error:
            raise ConfigError(
                f'TimmBackbone: timm cannot build {self.model!r} with {self.arguments}: {error}. Change or leave out '
                'model_args, drop_path_rate'
            ) from error

    def _indices(self, strides: Sequence[int]) -> tuple[int, ...]:
        """Numbers of timm's maps that have the strides."""
        found = list(self._create().feature_info.reduction())
        if not strides or list(strides) != sorted(set(strides) & set(found)):
            raise ConfigError(
                f'TimmBackbone: strides={strides!r} must be a rising choice of those of {self.model!r}: '
                f'{listed(sorted(set(found)))}'
            )
        return tuple(len(found) - 1 - found[::-1].index(stride) for stride in strides)

    def _norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def init_weights(self) -> None:
        """Load the weights.

        Raises:
            CheckpointError: they cannot be reached or read, or are those of another model.
        """
        if self.weights is not None:
            with torch.random.fork_rng(devices=[]):
                self.body.load_state_dict(self._pretrained())
            if hasattr(self, '_params_init_info'):  # what the log says about each parameter
                update_init_info(self, init_info=f'{type(self).__name__}: weights={self.weights!r}')
        super().init_weights()

    def _pretrained(self) -> dict[str, Tensor]:
        """The loaded state.

        timm is silent about tensors that a file lacks. They stay random: then two loads differ.
        """
        first, second = self._load(seed=0), self._load(seed=1)
        random = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
        if random:
            raise CheckpointError(f'{self._source()}: not the weights of {self.model!r}: it lacks {listed(random, 3)}')
        if self.weights != 'timm':
            self._refuse_deeper()
        return first

    def _refuse_deeper(self) -> None:
        """The file of a deeper model has all tensors of this one, and others besides."""
        timm = _timm()
        arguments = {
            name: value for name, value in self.arguments.items() if name not in ('features_only', 'out_indices')
        }
        whole = set(timm.create_model(self.model, **arguments).state_dict())
        found = set(timm.models.load_state_dict(self.weights))
        others = sorted(found - whole)
        if whole <= found and others:
            raise CheckpointError(
                f'{self.weights}: not the weights of {self.model!r}: it has {listed(others, 3)} besides'
            )

    def _load(self, seed: int) -> dict[str, Tensor]:
        overlay = {}
        if self.weights != 'timm':
            if not Path(str(self.weights)).is_file():
                raise CheckpointError(f"{self.weights}: there is no such file. Give a file, weights='timm', or None")
            overlay = dict(pretrained_cfg_overlay=dict(file=str(self.weights)))
        torch.manual_seed(seed)
        try:
            loaded = _timm().create_model(self.model, pretrained=True, **overlay, **self.arguments)
        except Exception as error:  # of files, of the network, of the hub: many types
            raise CheckpointError(
                f'{self._source()}: {type(error).__name__}: {error}. Without network: give the path of a file as '
                'backbone.weights, fill the cache of huggingface_hub on a machine that has one, or train from '
                'scratch with backbone.weights=None'
            ) from error
        return loaded.state_dict()

    def _source(self) -> str:
        return f"timm's weights of {self.model!r}" if self.weights == 'timm' else str(self.weights)

    def train(self, mode: bool = True) -> TimmBackbone:
        """Switch to training, except the batch norms with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for norm in self._norms():
                norm.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W), normalised -> one map (B, C, H / stride, W / stride) for each stride."""
        maps = self.body(x)
        return tuple(feature.permute(0, 3, 1, 2) if self.channels_last else feature for feature in maps)
