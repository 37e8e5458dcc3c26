"""A detector made ready for prediction: the same outputs, faster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn

from mmdet_dab import compat
from mmdet_dab.engine.memory import keep_freed_memory
from mmdet_dab.models import ComposedDETR, TransformerDecoder, TransformerEncoder
from mmdet_dab.models.pieces import in_pieces

#: Marks a model that was optimised, and says how.
_SETTINGS = '_optimised_for_inference'


def optimize_for_inference(
    model: nn.Module, dtype: torch.dtype = torch.float32, compile_with: str | None = None
) -> nn.Module:
    """Fold batch norm into the convolutions, lay images out channels-last, and set the precision.

    For detectors of ours and of mmdet. The model is changed in place and is for prediction only
    from then on; build it and load its weights anew to have it back as it was. A second call
    changes nothing.

    On a CPU, backbone and encoder of a detector of ours take large images one by one
    (``models/pieces.py``), and the process keeps memory that it frees (``engine/memory.py``).

    Args:
        model: with its weights loaded.
        dtype: float32 keeps the outputs but for rounding. With bfloat16 or float16, backbone and
            neck compute in that precision, and of a detector of ours encoder and decoder too. The
            sine codes, the queries' generator, the anchors and the head stay float32, so that boxes
            are not rounded to half a per cent of the image.
        compile_with: also compile backbone and neck, and of a detector of ours encoder and decoder,
            with this backend of ``torch.compile``; ``'inductor'`` needs a C++ compiler on a CPU and
            takes minutes at the first prediction. Images of all sizes then share what was
            compiled. None leaves it.

    Returns:
        the same model, in eval mode.

    Raises:
        ValueError: the model was optimised otherwise already, or has no backbone, or dtype is no
            float, or there is no such backend.
    """
    if _is_optimised(model, (dtype, compile_with)):
        return model
    model.eval()
    stages = [name for name in ('backbone', 'neck') if getattr(model, name, None) is not None]
    for name in stages:
        stage = fuse_conv_bn(getattr(model, name)).to(dtype=dtype, memory_format=torch.channels_last)
        stage.register_forward_pre_hook(lambda _, inputs: cast(inputs, dtype))
        setattr(model, name, stage)
    # Also what folding has made: what follows a convolution is not computed with it while its
    # weights are to be trained (``models/folded_convolution.py``).
    model.requires_grad_(False)
    if dtype != torch.float32 and any(
        isinstance(layer, nn.LayerNorm) for layer in model.get_submodule('backbone').modules()
    ):
        # The attention masks of transformers such as Swin are float32: products take what comes.
        backbone = model.get_submodule('backbone')
        device = next(backbone.parameters()).device.type
        backbone.forward = torch.autocast(device, dtype)(backbone.forward)
    if isinstance(model, ComposedDETR):
        _set_precision(model, stages[-1], dtype)
        for linear in (*model.query_generator.modules(), *model.bbox_head.modules()):
            if isinstance(linear, nn.Linear):
                linear.register_forward_pre_hook(lambda _, inputs: cast(inputs, torch.float32))
        in_pieces(model.backbone, model.encoder if isinstance(model.encoder, TransformerEncoder) else None)
    else:
        getattr(model, stages[-1]).register_forward_hook(lambda _, __, outputs: cast(outputs, torch.float32))
    if next(model.parameters()).device.type == 'cpu':
        keep_freed_memory()
    if compile_with is not None:
        if isinstance(model, ComposedDETR):
            stages += ['encoder', 'decoder']
        for name in stages:
            getattr(model, name).compile(backend=compile_with, dynamic=True)
    compat.before_load_state_dict(model, _refuse_weights)
    setattr(model, _SETTINGS, (dtype, compile_with))
    return model


def _is_optimised(model: nn.Module, settings: tuple[torch.dtype, str | None]) -> bool:
    """Whether it is done; refuses what cannot be."""
    before = getattr(model, _SETTINGS, None)
    if before not in (None, settings):
        now, wanted = (f'{dtype}, compiled with {backend}' for dtype, backend in (before, settings))
        raise ValueError(f'the model is optimised for {now}: build and load it anew to have it in {wanted}')
    dtype, backend = settings
    if not dtype.is_floating_point:
        raise ValueError(f'optimize_for_inference: dtype={dtype} is not a float')
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise ValueError(f'optimize_for_inference: {type(model).__name__} has no backbone')
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in (None, *known):
        raise ValueError(f'optimize_for_inference: compile_with={backend!r} is not one of {", ".join(known)}, or None')
    return before == settings


def _set_precision(model: ComposedDETR, features: str, dtype: torch.dtype) -> None:
    """Encoder and decoder compute in ``dtype``; those of mmdet, which cannot, in float32."""
    if isinstance(model.encoder, TransformerEncoder):
        _compute_in(model.encoder, dtype)
    else:
        model.get_submodule(features).register_forward_hook(lambda _, __, outputs: cast(outputs, torch.float32))
    if isinstance(model.decoder, TransformerDecoder):
        _compute_in(model.decoder, dtype)
    else:
        model.encoder.register_forward_hook(
            lambda _, __, tokens: replace(tokens, content=cast(tokens.content, torch.float32))
        )


def _compute_in(stage: nn.Module, dtype: torch.dtype) -> None:
    """Layers with weights compute in ``dtype``, whatever precision comes in.

    Learned content and learned positions come in float32, as do the codes of anchors; what is added
    up of both precisions is float32.
    """
    stage.to(dtype)
    if dtype == torch.float32:
        return
    for layer in stage.modules():
        if any(parameter.is_floating_point() for parameter in layer.parameters(recurse=False)) and not list(
            layer.children()
        ):
            layer.register_forward_pre_hook(lambda _, inputs: cast(inputs, dtype))


def cast(value: Any, dtype: torch.dtype) -> Any:
    """The numbers in a nest of tuples and lists in another precision; masks stay."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    return type(value)(cast(item, dtype) for item in value) if isinstance(value, tuple | list) else value


def _refuse_weights(model: nn.Module, *_: Any) -> NoReturn:
    """Batch norm is gone: raw weights would be taken for folded ones, and predictions would be
    wrong in silence.
    """
    raise RuntimeError(
        f'this {type(model).__name__} is optimised for inference and takes no weights any more: '
        'build it anew, load them, and optimise it then'
    )
