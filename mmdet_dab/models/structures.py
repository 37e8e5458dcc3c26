"""What flows from part to part. Batch first everywhere; boxes are (cx, cy, w, h) in 0..1.

B images, S feature-map cells (of all levels, flattened), N queries, D embedding width,
L decoder layers, V feature levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


class PositionalEncoder(Protocol):
    """What the detector hands to all who encode a position: one code for cells and for anchors."""

    def cells(self, padding: Tensor) -> Tensor:
        """(B, H, W) bool, True on padding -> (B, H, W, D)."""

    def boxes(self, anchors: Tensor) -> Tensor:
        """(..., 4) cx cy w h or (..., 2) cx cy in 0..1 -> (..., 2D) or (..., D); the first D as for
        cells."""


@dataclass(frozen=True)
class ImageTokens:
    """The cells of the feature maps, as the encoder and the decoder's cross-attention see them.

    Attributes:
        content: (B, S, D), what a cell shows.
        position: (B, S, D), the encoding of where it is.
        padding: (B, S) bool, True on cells that are padding; None when the batch has none.
        shapes: (H, W) of every level, in the order of the cells.
        valid_ratios: (B, V, 2), the part (in x, in y) of each level that is image, not padding.
    """

    content: Tensor
    position: Tensor
    padding: Tensor | None
    shapes: tuple[tuple[int, int], ...]
    valid_ratios: Tensor

    def on_canvas(self, anchors: Tensor) -> Tensor:
        """Where anchors lie on every level with its padding.

        Args:
            anchors: (B, N, 4) boxes or (B, N, 2) points, in parts of the images.

        Returns:
            (B, N, V, 4 or 2), in parts of each padded level: x and w times its valid ratio in x, y
            and h times that in y.
        """
        ratios = self.valid_ratios.repeat(1, 1, anchors.size(-1) // 2)  # (x, y) -> (x, y, x, y) for boxes
        return anchors[:, :, None] * ratios[:, None]


@dataclass(frozen=True)
class Denoising:
    """Queries that were made of the ground truth and know their object; K of them in the batch,
    padding left out.

    Attributes:
        num_matching: the first of the N queries, which are matched; all others denoise.
        image: (K,) index in the batch.
        query: (K,) index among the N queries.
        labels: (K,) long, class of the object, without noise.
        boxes: (K, 4) cx cy w h in 0..1, box of the object, without noise.
    """

    num_matching: int
    image: Tensor
    query: Tensor
    labels: Tensor
    boxes: Tensor


class Proposals(NamedTuple):
    """What the cells of the encoded image say of objects, for the head to train.

    Attributes:
        logits: (B, S, C).
        boxes: (B, S, 4) cx cy w h in 0..1.
    """

    logits: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class Queries:
    """What the decoder starts from.

    Attributes:
        content: (B, N, D).
        anchors: (B, N, 4) boxes or (B, N, 2) points in 0..1, or None for queries without anchors.
        position: (B, N, D) learned positions for decoders without anchors, or None.
        attention_mask: (N, N), or (B, 1, N, N) for a mask of every image, bool, True where a query
            (row) must not look (column), or None.
        denoising: what the head has to know of denoising queries, or None.
        groups: the matching queries are so many groups of equal size, one after another, each of
            which is matched by itself.
        proposals: what the anchors were chosen from, in training, or None.
    """

    content: Tensor
    anchors: Tensor | None = None
    position: Tensor | None = None
    attention_mask: Tensor | None = None
    denoising: Denoising | None = None
    groups: int = 1
    proposals: Proposals | None = None

    def required(self, name: str, part: object) -> Tensor:
        """Anchors or position, for a part that cannot do without.

        Raises:
            ValueError: the query generator gave none; names the part.
        """
        value = getattr(self, name)
        if value is None:
            raise ValueError(f'{type(part).__name__} needs queries with {name}, but the query generator gave none')
        return value


class QueryPosition(NamedTuple):
    """The two positional queries of a decoder layer.

    Attributes:
        learned: (B, N, D), P = MLP(PE(anchor)), or learned as it is; added to the content in
            self-attention.
        sine: (B, N, D), the scaled and modulated PE(x, y); set beside the content in
            cross-attention, where its dot product with a cell's position is the soft region. For
            queries without anchors ``learned`` once more.
    """

    learned: Tensor
    sine: Tensor


class AnchorStep(NamedTuple):
    """Anchors after a decoder layer.

    Attributes:
        anchors: (B, N, 4 or 2) in 0..1, where the next layer starts, detached.
        reference: like ``anchors``, what the head measures the next layer's boxes from.
    """

    anchors: Tensor
    reference: Tensor


@dataclass(frozen=True)
class DecoderOutput:
    """What the decoder hands to the head.

    Attributes:
        states: (L, B, N, D), normed content after every layer.
        references: (L, B, N, 4, 2 or 0), the anchors that each layer's boxes are offsets of; of no
            coordinate for queries without anchors.
        queries: what the decoder started from (the head reads ``denoising``).
    """

    states: Tensor
    references: Tensor
    queries: Queries
