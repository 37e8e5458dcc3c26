"""Merged parameter groups: fewer of them, the same step."""

from __future__ import annotations

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmdet_dab.engine  # noqa: F401  registers it
from mmdet_dab.engine.param_groups import merged_groups

SETTINGS = dict(
    optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.2),
    clip_grad=dict(max_norm=0.1),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.5), 'frozen': dict(lr_mult=3.0)}, norm_decay_mult=0.0),
)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Linear(4, 2).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.backbone(x)))


def trained(**settings) -> tuple[nn.Module, list[dict]]:
    torch.manual_seed(0)
    model = Model()
    wrapper = build_optim_wrapper(model, dict(SETTINGS, **settings))
    for _ in range(3):
        wrapper.update_params(model(torch.randn(5, 3)).square().sum())
    return model, wrapper.optimizer.param_groups


def test_by_hand():
    groups = [dict(params=[1], lr=2), dict(params=[2]), dict(params=[3], lr=2), dict(params=[4, 5])]
    assert merged_groups(groups) == [dict(params=[1, 3], lr=2), dict(params=[2, 4, 5])]


def test_three_groups_take_the_step_of_eight():
    plain, many = trained()
    merged, few = trained(constructor='MergedGroupsConstructor')
    assert (len(many), len(few)) == (8, 3)
    assert [(group['lr'], group['weight_decay'], len(group['params'])) for group in few] == [
        (0.05, 0.2, 4),
        (0.1, 0.0, 2),
        (0.1, 0.2, 2),
    ]
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(merged.state_dict()[name], tensor)
