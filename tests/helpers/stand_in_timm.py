"""What TimmBackbone uses of timm, in little: for environments without it.

The real one is used where it is installed. What is copied of its behaviour: arguments that a model
does not know are a TypeError; tensors that a file lacks stay as they were, without a word.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor, nn

DEPTHS = {'resnet18': 2, 'resnet34': 3}


class _Stage(nn.Module):
    def __init__(self, in_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels if i == 0 else channels, channels, 3, 2 if i == 0 else 1, 1) for i in range(depth)
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x)
        return self.bn(x).relu()


class _Net(nn.Module):
    channels = (8, 16, 24, 32, 40)

    def __init__(self, depth: int, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        before = (3, *self.channels)
        for i, channels in enumerate(self.channels):
            self.add_module(f'layer{i}', _Stage(before[i], channels, depth))
        self.fc = nn.Linear(self.channels[-1], 10)


class _Features(nn.Module):
    """Of a net: the stages up to the last one that is wanted."""

    def __init__(self, net: _Net, out_indices: tuple[int, ...], output_fmt: str) -> None:
        super().__init__()
        self.out_indices, self.output_fmt = out_indices, output_fmt
        for i in range(max(out_indices) + 1):
            self.add_module(f'layer{i}', net.get_submodule(f'layer{i}'))
        self.feature_info = SimpleNamespace(
            channels=lambda: [net.channels[i] for i in out_indices],
            reduction=lambda: [2 ** (i + 1) for i in out_indices],
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i in range(max(self.out_indices) + 1):
            x = self.get_submodule(f'layer{i}')(x)
            maps.append(x.permute(0, 2, 3, 1) if self.output_fmt == 'NHWC' else x)
        return [maps[i] for i in self.out_indices]


def _create_model(
    name: str,
    pretrained: bool = False,
    pretrained_cfg_overlay: dict | None = None,
    features_only: bool = False,
    out_indices: tuple[int, ...] = (0, 1, 2, 3, 4),
    output_fmt: str = 'NCHW',
    **settings,
) -> nn.Module:
    net = _Net(DEPTHS[name], **settings)
    if pretrained:
        if not pretrained_cfg_overlay:
            raise FileNotFoundError('the hub cannot be reached')
        net.load_state_dict(_load_state_dict(pretrained_cfg_overlay['file']), strict=False)
    return _Features(net, out_indices, output_fmt) if features_only else net


def _load_state_dict(path: str) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)


def stand_in() -> ModuleType:
    """A module to put into ``sys.modules['timm']``."""
    module = ModuleType('timm')
    module.__version__ = '0 (stand-in)'
    module.is_model = DEPTHS.__contains__
    module.list_models = lambda: list(DEPTHS)
    module.create_model = _create_model
    module.models = SimpleNamespace(load_state_dict=_load_state_dict)
    return module
