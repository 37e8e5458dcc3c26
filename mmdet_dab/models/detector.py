"""The detector: it builds every part from its config and wires them. Nothing else happens here.

backbone → neck → tokenizer → encoder → query_generator → decoder → bbox_head
"""

from __future__ import annotations

from mmdet.models.detectors.base import BaseDetector
from mmdet.structures import SampleList
from torch import Tensor

from mmdet_dab.models.contracts import check_contracts
from mmdet_dab.models.structures import DecoderOutput
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class ComposedDETR(BaseDetector):
    """A DETR of registered parts.

    Args:
        backbone: config; feature maps of the picture.
        neck: config; feature maps of width D.
        positional_encoder: config; encodes cells and anchors.
        tokenizer: config; feature maps -> ImageTokens.
        encoder: config; ImageTokens -> ImageTokens.
        query_generator: config; ImageTokens (and truth, in training) -> Queries.
        decoder: config; Queries, ImageTokens -> DecoderOutput.
        bbox_head: config; DecoderOutput -> classes and boxes, losses, predictions.
        data_preprocessor: config; normalises and pads.
        init_cfg: see mmengine's BaseModule.

    Raises:
        ValueError: when parts contradict one another.
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
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.positional_encoder = MODELS.build(positional_encoder)
        self.tokenizer = MODELS.build(tokenizer)
        self.encoder = MODELS.build(encoder)
        self.query_generator = MODELS.build(query_generator)
        self.decoder = MODELS.build(decoder)
        self.bbox_head = MODELS.build(bbox_head)
        check_contracts(self, neck)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pictures -> feature maps (B, D, h, w)."""
        return self.neck(self.backbone(batch_inputs))

    def decode(self, batch_inputs: Tensor, batch_data_samples: SampleList | None) -> DecoderOutput:
        """From pictures (B, 3, H, W) to decoded queries."""
        features = self.extract_feat(batch_inputs)
        canvas = (batch_inputs.size(2), batch_inputs.size(3))
        tokens = self.encoder(self.tokenizer(features, canvas, batch_data_samples, self.positional_encoder))
        queries = self.query_generator(tokens, batch_data_samples if self.training else None)
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
        """``mode='tensor'``: logits (L, B, N, C) and boxes (L, B, N, 4) cx cy w h in 0..1 of all layers."""
        return self.bbox_head(self.decode(batch_inputs, batch_data_samples))
