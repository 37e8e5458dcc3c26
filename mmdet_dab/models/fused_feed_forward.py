"""The feed-forward block with a PReLU in one operation, for training on a CPU.

As three modules it keeps the PReLU's input and output for the backward pass, each eight times as
large as a layer's content, and makes gradients of both. Here it keeps the input alone; the rest is
computed piece by piece, in the cache. And PyTorch's backward pass of a PReLU on a CPU goes number
by number: that of a leaky ReLU of the same slope, and a sum for the slope, take a quarter of its
time.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Bytes of the hidden layer taken at once.
PIECE = 2**23


def fuses(expand: nn.Module, activation: nn.Module, shrink: nn.Module, content: Tensor) -> bool:
    """Whether :func:`fused_feed_forward` takes these three, and this content, now.

    Not if somebody watches one of them, which then has to be called. On a GPU it would have to wait
    for the slope, and a compiler does better without.
    """
    return (
        type(expand) is type(shrink) is nn.Linear
        and expand.bias is not None
        and shrink.bias is not None
        and type(activation) is nn.PReLU
        and activation.num_parameters == 1
        and not any(map(_is_watched, (expand, activation, shrink)))
        and content.device.type == 'cpu'
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def _is_watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def fused_feed_forward(content: Tensor, expand: nn.Linear, activation: nn.PReLU, shrink: nn.Linear) -> Tensor:
    """``shrink(activation(expand(content)))``; none of the modules is called.

    Under autocast in its precision, with gradients added up in that of the weights.

    Args:
        content: (..., D).
        expand: D -> D'.
        activation: of one slope.
        shrink: D' -> D.

    Returns:
        (..., D).
    """
    if torch.is_autocast_enabled('cpu'):
        content = content.to(torch.get_autocast_dtype('cpu'))
    out = _FeedForward.apply(
        content.flatten(0, -2), expand.weight, expand.bias, activation.weight, shrink.weight, shrink.bias
    )
    return cast(Tensor, out).view(*content.shape[:-1], -1)


def _pieces(*wholes: Tensor, width: int) -> list[tuple[Tensor, ...]]:
    """Tensors of equally many rows, some rows at a time: hidden ones have ``width`` numbers."""
    rows = max(1, PIECE // wholes[0].element_size() // width)
    return list(zip(*(whole.split(rows) for whole in wholes), strict=True))


class _FeedForward(torch.autograd.Function):
    """Of rows (N, D)."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, expand: Tensor, expand_bias: Tensor, slope: Tensor, shrink: Tensor, shrink_bias: Tensor
    ) -> Tensor:
        to_hidden = (expand.to(rows.dtype), expand_bias.to(rows.dtype))
        to_out, leak = (shrink.to(rows.dtype), shrink_bias.to(rows.dtype)), slope.item()
        hidden = F.linear(rows, *to_hidden)
        ctx.save_for_backward(rows, hidden, expand, slope, shrink)
        return torch.cat([F.linear(F.leaky_relu(h, leak), *to_out) for (h,) in _pieces(hidden, width=hidden.size(1))])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        rows, hidden, expand, slope, shrink = ctx.saved_tensors
        (gradient,) = gradients
        to_hidden, to_out, leak = expand.to(rows.dtype), shrink.to(rows.dtype), slope.item()
        of_rows, of_slope = torch.empty_like(rows), torch.zeros_like(slope)
        of_expand, of_shrink = torch.zeros_like(expand), torch.zeros_like(shrink)
        of_expand_bias = expand.new_zeros(expand.size(0))
        for x, h, g, of_x in _pieces(rows, hidden, gradient, of_rows, width=hidden.size(1)):
            of_shrink += g.T @ F.leaky_relu(h, leak)
            of_h = g @ to_out
            of_slope += torch.linalg.vecdot(h.clamp(max=0), of_h).sum(dtype=slope.dtype)
            torch.ops.aten.leaky_relu_backward.grad_input(of_h, h, leak, False, grad_input=of_h)
            of_expand += of_h.T @ x
            of_expand_bias += of_h.sum(0)
            torch.mm(of_h, to_hidden, out=of_x)
        return of_rows, of_expand, of_expand_bias, of_slope, of_shrink, gradient.sum(0).to(shrink.dtype)
