"""The detector and its parts, one idea of the paper per file."""

from mmdet_dab.models.anchor_update import AnchorUpdate
from mmdet_dab.models.assigner import MatcherAssigner
from mmdet_dab.models.attention import (
    CellSelfAttention,
    ConditionalCrossAttention,
    ConditionalSelfAttention,
    QueryCrossAttention,
    QuerySelfAttention,
)
from mmdet_dab.models.backbone import DilatedResNet, FrozenBatchNorm
from mmdet_dab.models.decoder import AnchorDecoder, QueryDecoder
from mmdet_dab.models.decoder_layer import DecoderLayer
from mmdet_dab.models.deformable_attention import DeformableCellAttention, DeformableCrossAttention
from mmdet_dab.models.denoising import DenoisingQueryGenerator
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.duplicates import MatrixNMS
from mmdet_dab.models.efficientnet_lite import EfficientNetLite
from mmdet_dab.models.encoder import EncoderLayer, TransformerEncoder
from mmdet_dab.models.focal_loss import SigmoidFocalLoss
from mmdet_dab.models.head import SetPredictionHead
from mmdet_dab.models.image_tokens import ImageTokenizer
from mmdet_dab.models.imagenet_wheel import ImageNetWheel
from mmdet_dab.models.initial_anchors import BoxAnchors, GridAnchors, NormalAnchors, UniformAnchors
from mmdet_dab.models.initial_weights import DirectedAttention, UnitPositionScale
from mmdet_dab.models.layers import FeedForward
from mmdet_dab.models.matcher import BoxL1Cost, ClassificationCost, FocalCost, GIoUCost, HungarianMatcher
from mmdet_dab.models.mixed_detr import MixedConditionalDETR, MixedDeformableDETR, MixedDETR
from mmdet_dab.models.mmdet_parts import (
    MMDetConditionalDecoder,
    MMDetDecoder,
    MMDetDeformableDecoder,
    MMDetDeformableEncoder,
    MMDetEncoder,
    MMDetHead,
    MMDetPointQueryGenerator,
)
from mmdet_dab.models.positional_encoder import SinePositionalEncoder
from mmdet_dab.models.positional_query import (
    AnchorPositionalQuery,
    ConditionalPositionalQuery,
    DeformablePositionalQuery,
    LearnedPositionalQuery,
)
from mmdet_dab.models.query_generator import (
    AnchorQueryGenerator,
    LearnedQueryGenerator,
    PredictedPointQueryGenerator,
)
from mmdet_dab.models.structures import DecoderOutput, Denoising, ImageTokens, Queries, QueryPosition
from mmdet_dab.models.timm_backbone import TimmBackbone

__all__ = [
    'AnchorDecoder',
    'AnchorPositionalQuery',
    'AnchorQueryGenerator',
    'AnchorUpdate',
    'BoxAnchors',
    'BoxL1Cost',
    'CellSelfAttention',
    'ClassificationCost',
    'ComposedDETR',
    'ConditionalCrossAttention',
    'ConditionalPositionalQuery',
    'ConditionalSelfAttention',
    'DecoderLayer',
    'DecoderOutput',
    'DeformableCellAttention',
    'DeformableCrossAttention',
    'DeformablePositionalQuery',
    'Denoising',
    'DenoisingQueryGenerator',
    'DilatedResNet',
    'DirectedAttention',
    'EfficientNetLite',
    'EncoderLayer',
    'FeedForward',
    'FocalCost',
    'FrozenBatchNorm',
    'GIoUCost',
    'GridAnchors',
    'HungarianMatcher',
    'ImageNetWheel',
    'ImageTokenizer',
    'ImageTokens',
    'LearnedPositionalQuery',
    'LearnedQueryGenerator',
    'MMDetConditionalDecoder',
    'MMDetDecoder',
    'MMDetDeformableDecoder',
    'MMDetDeformableEncoder',
    'MMDetEncoder',
    'MMDetHead',
    'MMDetPointQueryGenerator',
    'MatcherAssigner',
    'MatrixNMS',
    'MixedConditionalDETR',
    'MixedDETR',
    'MixedDeformableDETR',
    'NormalAnchors',
    'PredictedPointQueryGenerator',
    'Queries',
    'QueryCrossAttention',
    'QueryDecoder',
    'QueryPosition',
    'QuerySelfAttention',
    'SetPredictionHead',
    'SigmoidFocalLoss',
    'SinePositionalEncoder',
    'TimmBackbone',
    'TransformerEncoder',
    'UniformAnchors',
    'UnitPositionScale',
]
