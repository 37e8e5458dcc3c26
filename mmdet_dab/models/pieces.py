"""A batch goes through backbone and encoder in pieces, whose maps fit a CPU's caches.

For prediction only: nothing of one image depends on another there, so that results stay as they
are.
"""

from __future__ import annotations

import math
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


def _pieces(batch: Tensor, most: int, *dims: int) -> list[slice]:
    """Which images of a batch go together; nothing where all do.

    Pieces do not pay on a GPU, and for a tracer the number of images is no number.

    Args:
        batch: (B, …).
        most: numbers of these dimensions in a piece.
        dims: of the batch.
    """
    if batch.device.type != 'cpu' or torch.compiler.is_compiling() or torch.jit.is_tracing() or len(batch) < 2:
        return []
    number = max(1, most // max(1, math.prod(batch.size(dim) for dim in dims)))
    return [slice(start, start + number) for start in range(0, len(batch), number)] if number < len(batch) else []


def _maps_in_pieces(whole: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def forward(images: Tensor, *padding: Tensor | None) -> tuple[Tensor, ...]:
        pieces = _pieces(images, PIXELS, 2, 3)
        if not pieces:
            return whole(images, *padding)
        maps = [whole(*(None if value is None else value[piece] for value in (images, *padding))) for piece in pieces]
        return tuple(torch.cat(level) for level in zip(*maps, strict=True))

    return forward


def _tokens_in_pieces(whole: Callable[[ImageTokens], ImageTokens]) -> Callable[[ImageTokens], ImageTokens]:
    def forward(tokens: ImageTokens) -> ImageTokens:
        pieces = _pieces(tokens.content, CELLS, 1)
        if not pieces:
            return whole(tokens)
        return replace(tokens, content=torch.cat([whole(_images(tokens, piece)).content for piece in pieces]))

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
