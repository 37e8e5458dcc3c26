"""The detector and its parts, one idea of the paper per file."""

from mmdet_dab.models.anchor_content import AnchorContentQueryGenerator
from mmdet_dab.models.anchor_masked_attention import AnchorMaskedCrossAttention
from mmdet_dab.models.anchor_update import AnchorUpdate, DetachedAnchorUpdate
from mmdet_dab.models.anchors import BoxAnchors, GridAnchors, NormalAnchors, UniformAnchors
from mmdet_dab.models.attention import (
    CellSelfAttention,
    ConditionalCrossAttention,
    ConditionalSelfAttention,
    QueryCrossAttention,
    QuerySelfAttention,
)
from mmdet_dab.models.backbone import DilatedResNet, FoldingResNet
from mmdet_dab.models.cell_norm import CellNorm
from mmdet_dab.models.class_scores import SigmoidScores, SoftmaxScores
from mmdet_dab.models.decoder import CanvasFrame, TransformerDecoder
from mmdet_dab.models.decoder_layer import DecoderLayer
from mmdet_dab.models.deformable_attention import DeformableCellAttention, DeformableCrossAttention
from mmdet_dab.models.denoising import DenoisingQueryGenerator
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.models.efficientnet_lite import EfficientNetLite
from mmdet_dab.models.encoder import EncoderLayer, TransformerEncoder
from mmdet_dab.models.encoder_queries import EncoderQueryGenerator
from mmdet_dab.models.frozen_norm import FrozenBatchNorm
from mmdet_dab.models.group_queries import GroupQueryGenerator
from mmdet_dab.models.head import SetPredictionHead
from mmdet_dab.models.imagenet_wheel import ImageNetWheel
from mmdet_dab.models.init import BoxesAtReferences, DirectedAttention, UnitPositionScale
from mmdet_dab.models.layers import FeedForward
from mmdet_dab.models.losses import SigmoidFocalLoss
from mmdet_dab.models.matcher import BoxL1Cost, ClassificationCost, FocalCost, GIoUCost, HungarianMatcher
from mmdet_dab.models.matrix_nms import MatrixNMS
from mmdet_dab.models.position_scale import ContentScale, LayerScale, ScalarScale
from mmdet_dab.models.positional_encoder import SinePositionalEncoder
from mmdet_dab.models.positional_query import (
    AnchorPositionalQuery,
    ConditionalPositionalQuery,
    DeformablePositionalQuery,
    LearnedPositionalQuery,
)
from mmdet_dab.models.quality_loss import MatchabilityLoss
from mmdet_dab.models.query_generator import (
    AnchorQueryGenerator,
    LearnedQueryGenerator,
    PredictedPointQueryGenerator,
)
from mmdet_dab.models.repeated_matcher import RepeatedMatcher
from mmdet_dab.models.selection import BestPredictions
from mmdet_dab.models.size_modulation import SizeModulation
from mmdet_dab.models.structures import (
    AnchorStep,
    DecoderOutput,
    Denoising,
    ImageTokens,
    Proposals,
    Queries,
    QueryPosition,
)
from mmdet_dab.models.timm_backbone import TimmBackbone
from mmdet_dab.models.tokenizer import ImageTokenizer

__all__ = [
    'AnchorContentQueryGenerator',
    'AnchorMaskedCrossAttention',
    'AnchorPositionalQuery',
    'AnchorQueryGenerator',
    'AnchorStep',
    'AnchorUpdate',
    'BestPredictions',
    'BoxAnchors',
    'BoxL1Cost',
    'BoxesAtReferences',
    'CanvasFrame',
    'CellNorm',
    'CellSelfAttention',
    'ClassificationCost',
    'ComposedDETR',
    'ConditionalCrossAttention',
    'ConditionalPositionalQuery',
    'ConditionalSelfAttention',
    'ContentScale',
    'DecoderLayer',
    'DecoderOutput',
    'DeformableCellAttention',
    'DeformableCrossAttention',
    'DeformablePositionalQuery',
    'Denoising',
    'DenoisingQueryGenerator',
    'DetachedAnchorUpdate',
    'DilatedResNet',
    'DirectedAttention',
    'EfficientNetLite',
    'EncoderLayer',
    'EncoderQueryGenerator',
    'FeedForward',
    'FocalCost',
    'FoldingResNet',
    'FrozenBatchNorm',
    'GIoUCost',
    'GridAnchors',
    'GroupQueryGenerator',
    'HungarianMatcher',
    'ImageNetWheel',
    'ImageTokenizer',
    'ImageTokens',
    'LayerScale',
    'LearnedPositionalQuery',
    'LearnedQueryGenerator',
    'MatchabilityLoss',
    'MatrixNMS',
    'NormalAnchors',
    'PredictedPointQueryGenerator',
    'Proposals',
    'Queries',
    'QueryCrossAttention',
    'QueryPosition',
    'QuerySelfAttention',
    'RepeatedMatcher',
    'ScalarScale',
    'SetPredictionHead',
    'SigmoidFocalLoss',
    'SigmoidScores',
    'SinePositionalEncoder',
    'SizeModulation',
    'SoftmaxScores',
    'TimmBackbone',
    'TransformerDecoder',
    'TransformerEncoder',
    'UniformAnchors',
    'UnitPositionScale',
]
