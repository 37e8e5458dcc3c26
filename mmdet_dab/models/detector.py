"""The detector: it builds every part from its config and wires them. Nothing else happens here.

backbone → neck → tokenizer → encoder → query_generator → decoder → bbox_head
"""

from __future__ import annotations

from typing import Any

from mmdet.models.detectors.base import BaseDetector
from mmdet.structures import SampleList
from torch import Tensor

from mmdet_dab.models.compatibility import check_contracts, contract_of
from mmdet_dab.models.shared_values import hand_down
from mmdet_dab.models.structures import DecoderOutput
from mmdet_dab.models.tokenizer import canvas_padding
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class ComposedDETR(BaseDetector):
    """A DETR of registered parts.

    Args:
        backbone: config; feature maps of the image.
        neck: config; feature maps of width D.
        positional_encoder: config; encodes cells and anchors.
        tokenizer: config; feature maps -> ImageTokens.
        encoder: config; ImageTokens -> ImageTokens.
        query_generator: config; ImageTokens (and ground truth, in training) -> Queries.
        decoder: config; Queries, ImageTokens -> DecoderOutput.
        bbox_head: config; DecoderOutput -> classes and boxes, losses, predictions.
        embed_dims: width D of all parts.
        data_preprocessor: config; normalises and pads.
        init_cfg: see mmengine's BaseModule.
        shared: further values for all parts that take an argument of that name and were not given
            one, such as ``num_classes``, ``num_heads``, ``hidden_dims``, ``dropout``,
            ``num_levels`` or ``anchor_dims`` (``shared_values.py``).

    Raises:
        ValueError: when parts contradict one another.
        TypeError: no part takes one of the shared values.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        positional_encoder: dict,
        tokenizer: dict,
        encoder: dict,
        query_generator: dict,
        decoder: dict,
        bbox_head: dict,
        embed_dims: int = 256,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        parts = hand_down(
            dict(
                neck=neck,
                positional_encoder=positional_encoder,
                tokenizer=tokenizer,
                encoder=encoder,
                query_generator=query_generator,
                decoder=decoder,
                bbox_head=bbox_head,
            ),
            dict(embed_dims=embed_dims, **shared),
        )
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(parts['neck'])
        self.positional_encoder = MODELS.build(parts['positional_encoder'])
        self.tokenizer = MODELS.build(parts['tokenizer'])
        self.encoder = MODELS.build(parts['encoder'])
        self.query_generator = MODELS.build(parts['query_generator'])
        self.decoder = MODELS.build(parts['decoder'])
        self.bbox_head = MODELS.build(parts['bbox_head'])
        check_contracts(self, parts['neck'])

    def extract_feat(self, batch_inputs: Tensor, padding: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised images, and their padding for backbones that mask it -> maps (B,
        D, h, w)."""
        if contract_of(self.backbone).masks_padding:
            return self.neck(self.backbone(batch_inputs, padding))
        return self.neck(self.backbone(batch_inputs))

    def decode(self, batch_inputs: Tensor, batch_data_samples: SampleList | None) -> DecoderOutput:
        """From images (B, 3, H, W) to decoded queries."""
        padding = canvas_padding(batch_data_samples, batch_inputs)
        return self.decode_padded(batch_inputs, padding, batch_data_samples if self.training else None)

    def decode_padded(
        self, batch_inputs: Tensor, padding: Tensor | None, ground_truth: SampleList | None = None
    ) -> DecoderOutput:
        """The same with what is padding, (B, H, W) bool or None, and ground truth for denoising, if
        any."""
        features = self.extract_feat(batch_inputs, padding)
        tokens = self.encoder(self.tokenizer(features, padding, self.positional_encoder))
        queries = self.query_generator(tokens, ground_truth)
        return self.decoder(queries, tokens, self.positional_encoder, self.bbox_head.box_offset)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses by name; see the head."""
        return self.bbox_head.loss(self.decode(batch_inputs, batch_data_samples), batch_data_samples)

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """The data samples with ``pred_instances``; see the head."""
        output = self.decode(batch_inputs, batch_data_samples)
        return self.add_pred_to_datasample(
            batch_data_samples, self.bbox_head.predict(output, batch_data_samples, rescale)
        )

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None) -> tuple[Tensor, Tensor]:
        """``mode='tensor'``: logits (L, B, N, C) and boxes (L, B, N, 4) cx cy w h in 0..1 of all
        layers."""
        return self.bbox_head(self.decode(batch_inputs, batch_data_samples))
