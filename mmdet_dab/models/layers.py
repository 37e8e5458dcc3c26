"""Small bricks that several parts share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mmdet.models.layers import MLP
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract
from mmdet_dab.models.fused_feed_forward import fused_feed_forward, fuses
from mmdet_dab.registry import MODELS

__all__ = [
    'MLP',
    'FeedForward',
    'RenamedTensors',
    'current_names',
    'inverse_sigmoid',
    'rename_tensors',
    'xavier_matrices',
]


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """σ⁻¹, with x and 1 − x clamped to ``eps`` from below (released code: 1e-3)."""
    x = x.clamp(min=0, max=1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def xavier_matrices(*modules: nn.Module, gain: float = 1.0) -> None:
    """Xavier-uniform for every matrix in ``modules``, as DETR initialises its transformer; vectors
    stay."""
    for module in modules:
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter, gain=gain)


def rename_tensors(state: dict[str, Tensor], before: str, now: str) -> None:
    """Rename the keys of a state dict that start with ``before`` and not yet with ``now``."""
    for key in [key for key in state if key.startswith(before) and not key.startswith(now)]:
        state[now + key.removeprefix(before)] = state.pop(key)


class RenamedTensors(nn.Module):
    """A part whose tensors had other names in earlier checkpoints, or have them in mmdet's.

    Attributes:
        renamed_tensors: how names began, in this part, -> how they begin now.
    """

    renamed_tensors: Mapping[str, str] = MappingProxyType({})

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        for before, now in self.renamed_tensors.items():
            rename_tensors(state_dict, prefix + before, prefix + now)
        super()._load_from_state_dict(state_dict, prefix, *args)


def current_names(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names that they have in the model now."""
    result = dict(state)
    for path, part in model.named_modules():
        if isinstance(part, RenamedTensors):
            prefix = f'{path}.' if path else ''
            for before, now in part.renamed_tensors.items():
                rename_tensors(result, prefix + before, prefix + now)
    return result


@MODELS.register_module()
class FeedForward(BaseModule):
    """The feed-forward block of a transformer layer, without its residual and norm.

    Args:
        embed_dims: width D of what comes in and goes out.
        hidden_dims: width in between (paper: 2048).
        act_cfg: activation; the paper's is a PReLU (which learns its slope), DETR's a ReLU.
        dropout: after the activation.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        hidden_dims: int = 2048,
        act_cfg: dict | None = None,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.contract = Contract(embed_dims=embed_dims)
        self.expand = nn.Linear(embed_dims, hidden_dims)
        self.activation = MODELS.build(act_cfg or dict(type='PReLU'))
        self.dropout = nn.Dropout(dropout)
        self.shrink = nn.Linear(hidden_dims, embed_dims)

    def init_weights(self) -> None:
        """Xavier for both matrices."""
        xavier_matrices(self.expand, self.shrink)
        super().init_weights()

    def forward(self, content: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        parts = (self.expand, self.activation, self.shrink)
        if fuses(*parts, content) and not (self.training and self.dropout.p):
            return fused_feed_forward(content, *parts)
        return self.shrink(self.dropout(self.activation(self.expand(content))))
