"""A convolution and the frozen batch norm after it in one: the norm goes into the weights, which
are few, and not over the maps, which are large.

norm(conv(x, w)) = conv(x, w · scale) + shift. The weights are trained as before: their gradient is
that of the folded ones, times scale. What follows the norm, a residual and a ReLU, is computed
along with the convolution where PyTorch has a kernel for it (oneDNN, on CPUs). So are those of a
convolution that ``optimize_for_inference`` has folded already: in its place the norm is an
identity.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _get_current_dispatch_mode

from mmdet_dab.models.frozen_norm import is_frozen, scale_and_shift

#: What may follow: nothing, max(0, x), or that up to 6.
Activation = Literal['none', 'relu', 'relu6']
#: The same for oneDNN: its name, and its bounds.
ONEDNN: dict[Activation, tuple[str, list[float]]] = {
    'none': ('none', []),
    'relu': ('relu', []),
    'relu6': ('hardtanh', [0.0, 6.0]),
}


class Geometry(NamedTuple):
    """What of a convolution is not its weights."""

    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def folds(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether :func:`folded` takes these two now.

    Not while they are compiled or traced: a compiler does better, and knows no oneDNN. Nor while
    the operations of a prediction are counted, which shall be plain ones.
    """
    return (
        isinstance(convolution, nn.Conv2d)
        and convolution.padding_mode == 'zeros'
        and isinstance(convolution.padding, tuple)
        and (convolution.bias is None if is_frozen(norm) else _is_folded(convolution, norm))
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and (torch.is_grad_enabled() or _get_current_dispatch_mode() is None)
    )


def _is_folded(convolution: nn.Conv2d, norm: nn.Module) -> bool:
    """Whether the norm is in the weights already, which then are for prediction only."""
    return isinstance(norm, nn.Identity) and convolution.bias is not None and not convolution.weight.requires_grad


def folded(
    convolution: nn.Module,
    norm: nn.Module,
    x: Tensor,
    activation: Activation = 'none',
    residual: Tensor | None = None,
) -> Tensor:
    """activation(norm(convolution(x)) + residual).

    Under autocast in its precision; the weights are folded before they are rounded to it.

    Args:
        convolution: one that :func:`folds`; its module is not called.
        norm: of its output; not called either.
        x: (B, C, H, W).
        activation: what follows.
        residual: (B, C', H', W'), or None.

    Returns:
        (B, C', H', W'), on a CPU with the channels side by side in memory.

    Raises:
        RuntimeError: the norm's weights are to be trained.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    layer = cast(nn.Conv2d, convolution)
    geometry = Geometry(cast('tuple[int, ...]', layer.padding), layer.stride, layer.dilation, layer.groups)
    if residual is not None:
        residual = residual.to(dtype)
    if not is_frozen(norm):
        weight, bias = layer.weight.to(dtype), cast(Tensor, layer.bias).to(dtype)
        return _convolve(_laid_out(x.to(dtype)), weight, bias, geometry, activation, residual)
    scale, shift = scale_and_shift(norm)
    return _Folded.apply(x.to(dtype), layer.weight, scale, shift, geometry, activation, residual)


class _Folded(torch.autograd.Function):
    """Keeps its input and, for the ReLU, its output, which is the next one's input."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scale: Tensor,
        shift: Tensor,
        geometry: Geometry,
        activation: Activation,
        residual: Tensor | None,
    ) -> Tensor:
        x, folded_weight = _laid_out(x), _fold(weight, scale, x)
        out = _convolve(x, folded_weight, shift.to(x.dtype), geometry, activation, residual)
        ctx.save_for_backward(x, weight, scale, out if activation != 'none' else None)
        ctx.geometry, ctx.activation = geometry, activation
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, out = ctx.saved_tensors
        (gradient,) = gradients
        if ctx.activation == 'relu':
            gradient = torch.ops.aten.threshold_backward(gradient, out, 0)
        elif ctx.activation == 'relu6':
            gradient = torch.ops.aten.hardtanh_backward(gradient, out, 0, 6)
        of_x = of_weight = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            of_x, of_weight = _gradients(
                _laid_out(gradient), x, _fold(weight, scale, x), ctx.geometry, ctx.needs_input_grad[:2]
            )
        if of_weight is not None:
            of_weight = torch.mul(of_weight, scale[:, None, None, None], out=torch.empty_like(weight))
        of_x = None if of_x is None else of_x.to(x.dtype)
        return of_x, of_weight, None, None, None, None, gradient if ctx.needs_input_grad[6] else None


def _laid_out(x: Tensor) -> Tensor:
    """On a CPU with channels last, which oneDNN would make of it in every convolution."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == 'cpu' else x


def _fold(weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """Weights for maps such as ``x``."""
    product = weight * scale[:, None, None, None]
    return _laid_out(product.to(x.dtype))


def _has_fused_kernels(x: Tensor) -> bool:
    """Whether oneDNN computes in the precision of ``x`` on this CPU."""
    if x.device.type != 'cpu' or not torch.backends.mkldnn.is_available():
        return False
    if x.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return x.dtype == torch.float32


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, activation: Activation, residual: Tensor | None
) -> Tensor:
    padding, stride, dilation, groups = geometry
    if x.numel() and _has_fused_kernels(x):
        fused = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            name, bounds = ONEDNN[activation]
            return fused(x, weight, bias, padding, stride, dilation, groups, name, bounds, '')
        if activation == 'relu':  # the only one that it knows after a sum
            return fused.binary(
                x, residual, weight, bias, padding, stride, dilation, groups, 'add', None, 'relu', [], ''
            )
    out = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    if residual is not None:
        out += residual
    return out if activation == 'none' else out.clamp_(0, 6 if activation == 'relu6' else None)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Of the maps and of the weights.

    oneDNN's kernels for weights of strided convolutions are slow with channels last, up to a third
    of the usual rate. A 1×1 convolution with a stride is one without on fewer places; larger ones
    take the maps as they lie without channels last.
    """
    padding, stride, groups = geometry.padding, geometry.stride, geometry.groups
    if x.device.type != 'cpu' or max(stride) == 1 or groups > 1:
        return _backward(gradient, x, weight, geometry, wanted)
    if weight.shape[2:] == (1, 1) and not any(padding):
        places = x[:, :, :: stride[0], :: stride[1]].contiguous(memory_format=torch.channels_last)
        of_places, of_weight = _backward(gradient, places, weight, geometry._replace(stride=(1, 1)), wanted)
        if of_places is None:
            return None, of_weight
        spread = torch.zeros_like(x)
        spread[:, :, :: stride[0], :: stride[1]] = of_places
        return spread, of_weight
    of_x, _ = _backward(gradient, x, weight, geometry, (wanted[0], False))
    if x.dtype == torch.float32:
        gradient, x, weight = gradient.contiguous(), x.contiguous(), weight.contiguous()
    _, of_weight = _backward(gradient, x, weight, geometry, (False, wanted[1]))
    return of_x, of_weight


def _is_product(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether a matrix product is faster: for 1×1 convolutions on one thread, for which PyTorch
    does not choose oneDNN.
    """
    return (
        x.device.type == 'cpu'
        and x.dtype == torch.float32
        and torch.get_num_threads() == 1
        and weight.shape[2:] == (1, 1)
        and geometry.groups == max(geometry.stride) == 1
        and not any(geometry.padding)
    )


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    if not any(wanted):
        return None, None
    padding, stride, dilation, groups = geometry
    if _is_product(x, weight, geometry):
        maps, gradients = (part.permute(0, 2, 3, 1).flatten(0, 2) for part in (x, gradient))
        matrix = weight.flatten(1)
        height, width = x.shape[2:]
        of_x = (gradients @ matrix).view(-1, height, width, x.size(1)).permute(0, 3, 1, 2) if wanted[0] else None
        return of_x, (gradients.T @ maps).view_as(weight) if wanted[1] else None
    if x.device.type == 'cpu' and groups > 1:
        # Of depthwise convolutions oneDNN's bfloat16 gradient takes three times as long.
        gradient, x, weight = gradient.float(), x.float(), weight.float()
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups, (*wanted, False)
    )
    return of_x, of_weight
