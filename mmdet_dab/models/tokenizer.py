"""From feature maps to the flat sequence of cells that attention works on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.structures import ImageTokens, PositionalEncoder
from mmdet_dab.registry import MODELS


def canvas_padding(data_samples: SampleList | None, batch_inputs: Tensor) -> Tensor | None:
    """Where the canvas of a batch is padding.

    Args:
        data_samples: with ``img_shape`` (h, w) in pixels; None for a batch without padding.
        batch_inputs: (B, 3, H, W).

    Returns:
        (B, H, W) bool, True on padding, or None when every image fills the canvas.
    """
    canvas = tuple(batch_inputs.shape[-2:])
    if data_samples is None or all(tuple(sample.img_shape[:2]) == canvas for sample in data_samples):
        return None
    padding = torch.ones(len(data_samples), *canvas, dtype=torch.bool, device=batch_inputs.device)
    for mask, sample in zip(padding, data_samples, strict=True):
        height, width = sample.img_shape[:2]
        mask[:height, :width] = False
    return padding


@MODELS.register_module()
class ImageTokenizer(BaseModule):
    """Flattens feature maps into :class:`ImageTokens`, with the position and the padding of each
    cell.

    Args:
        embed_dims: width D of the feature maps.
        num_levels: how many feature maps; with more than one, each gets a learned embedding
            that is added to the position of its cells (Deformable DETR, section 4.1).
        levels: which of the neck's maps, by their index; None takes all of them, which must be
            ``num_levels``.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        num_levels: int = 1,
        levels: Sequence[int] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        fits = levels is None or (len(levels) == num_levels and min(levels, default=-1) >= 0)
        require(type(self).__name__, 'levels', levels, fits, f'num_levels={num_levels} indices from 0 on, or None')
        maps = num_levels if levels is None else None
        self.contract = Contract(embed_dims=embed_dims, levels=num_levels, maps=maps)
        self.embed_dims = embed_dims
        self.num_levels = num_levels
        self.levels = levels
        self.level_embedding = nn.Parameter(torch.randn(num_levels, embed_dims)) if num_levels > 1 else None

    def forward(
        self,
        features: Sequence[Tensor],
        padding: Tensor | None,
        positional_encoder: PositionalEncoder,
    ) -> ImageTokens:
        """Flatten.

        Args:
            features: maps (B, D, H, W), as many as ``num_levels``, or more with ``levels``.
            padding: (B, H, W) bool in pixels of the batch, True on padding; None for a batch
                without.
            positional_encoder: gives ``cells(padding)``.

        Raises:
            ValueError: when the maps are not as many or not as wide as configured.
        """
        features = self._chosen(features)
        masks = [self._level_padding(padding, feature) for feature in features]
        positions = [positional_encoder.cells(mask) for mask in masks]
        if self.level_embedding is not None:
            positions = [position + level for position, level in zip(positions, self.level_embedding, strict=True)]
        batch = features[0].size(0)
        return ImageTokens(
            content=torch.cat([feature.flatten(2).transpose(1, 2) for feature in features], dim=1),
            position=torch.cat([position.flatten(1, 2) for position in positions], dim=1).expand(batch, -1, -1),
            padding=None if padding is None else torch.cat([mask.flatten(1) for mask in masks], dim=1),
            shapes=tuple((feature.size(2), feature.size(3)) for feature in features),
            valid_ratios=torch.stack([valid_ratio(mask) for mask in masks], dim=1).expand(batch, -1, -1),
        )

    @staticmethod
    def _level_padding(padding: Tensor | None, feature: Tensor) -> Tensor:
        """(B, H, W) bool at the resolution of a feature map; (1, H, W) when nothing is padded."""
        height, width = feature.shape[-2:]
        if padding is None:
            return torch.zeros(1, height, width, dtype=torch.bool, device=feature.device)
        return F.interpolate(padding[None].float(), size=(height, width))[0].bool()

    def _chosen(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """The maps of the configured levels."""
        if self.levels is not None and len(features) <= max(self.levels):
            raise ValueError(
                f'{type(self).__name__}: levels={self.levels!r} counts from 0, but the neck gave {len(features)} '
                'feature map(s): raise num_outs of the neck, or choose others'
            )
        chosen = features if self.levels is None else [features[level] for level in self.levels]
        widths = [feature.size(1) for feature in chosen]
        if widths != [self.embed_dims] * self.num_levels:
            raise ValueError(
                f'{type(self).__name__} expects {self.num_levels} feature map(s) of {self.embed_dims} channels, but '
                f'the neck gave {len(widths)} with {widths}: set out_channels and num_outs of the neck, or '
                'embed_dims, num_levels and levels here'
            )
        return chosen


def valid_ratio(padding: Tensor) -> Tensor:
    """The part of a level that is image: (B, H, W) bool -> (B, 2), along x and along y, in 0..1."""
    inside = (~padding).float()
    return torch.stack((inside[:, 0, :].mean(1), inside[:, :, 0].mean(1)), dim=-1)
