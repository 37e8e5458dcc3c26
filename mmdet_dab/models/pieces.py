"""A batch goes through backbone and encoder in pieces, whose maps fit a CPU's caches.

For prediction only: nothing of one image depends on another there, so that results stay as they
are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmdet_dab.models.structures import ImageTokens

#: In a piece: pixels of images, and cells of tokens. At least one image.
PIXELS, CELLS = 2**20, 2**10


def in_pieces(backbone: nn.Module, encoder: nn.Module | None) -> None:
    """Change two modules, so that they take large batches in pieces.

    Args:
        backbone: images (B, 3, H, W), and their padding or nothing -> maps.
        encoder: ImageTokens -> the same with new content; None: it is left.
    """
    backbone.forward = _maps_in_pieces(backbone.forward)
    if encoder is not None:
        encoder.forward = _tokens_in_pieces(encoder.forward)


def _stays_whole(batch: Tensor) -> bool:
    """Where pieces do not pay, and in a tracer, for which the number of images is no number."""
    return batch.device.type != 'cpu' or torch.compiler.is_compiling() or torch.jit.is_tracing() or len(batch) < 2


def _maps_in_pieces(whole: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def forward(images: Tensor, *padding: Tensor | None) -> tuple[Tensor, ...]:
        if _stays_whole(images):
            return whole(images, *padding)
        number = max(1, PIXELS // max(1, images[0, 0].numel()))
        if number >= len(images):
            return whole(images, *padding)
        parts = range(0, len(images), number)
        pieces = [
            whole(*(None if value is None else value[start : start + number] for value in (images, *padding)))
            for start in parts
        ]
        return tuple(torch.cat(maps) for maps in zip(*pieces, strict=True))

    return forward


def _tokens_in_pieces(whole: Callable[[ImageTokens], ImageTokens]) -> Callable[[ImageTokens], ImageTokens]:
    def forward(tokens: ImageTokens) -> ImageTokens:
        if _stays_whole(tokens.content):
            return whole(tokens)
        batch = len(tokens.content)
        number = max(1, CELLS // max(1, tokens.content.size(1)))
        if number >= batch:
            return whole(tokens)
        pieces = [whole(_images(tokens, slice(start, start + number))) for start in range(0, batch, number)]
        return replace(tokens, content=torch.cat([piece.content for piece in pieces]))

    return forward


def _images(tokens: ImageTokens, images: slice) -> ImageTokens:
    """The tokens of some images."""
    return replace(
        tokens,
        content=tokens.content[images],
        position=tokens.position[images],
        padding=None if tokens.padding is None else tokens.padding[images],
        valid_ratios=tokens.valid_ratios[images],
    )
