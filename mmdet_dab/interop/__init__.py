"""Parts of ours inside mmdet's detectors, and mmdet's parts beside ours."""

from mmdet_dab.interop.assigner import MatcherAssigner
from mmdet_dab.interop.detr_tta import DetrTTA
from mmdet_dab.interop.mixed_detr import MixedConditionalDETR, MixedDABDETR, MixedDeformableDETR, MixedDETR
from mmdet_dab.interop.mmdet_heads import MMDetConditionalHead, MMDetDABHead, MMDetDeformableHead, MMDetDETRHead
from mmdet_dab.interop.mmdet_queries import MMDetAnchorQueryGenerator, MMDetPointQueryGenerator
from mmdet_dab.interop.mmdet_stacks import (
    MMDetConditionalDecoder,
    MMDetDABDecoder,
    MMDetDABEncoder,
    MMDetDecoder,
    MMDetDeformableDecoder,
    MMDetDeformableEncoder,
    MMDetEncoder,
)

__all__ = [
    'DetrTTA',
    'MMDetAnchorQueryGenerator',
    'MMDetConditionalDecoder',
    'MMDetConditionalHead',
    'MMDetDABDecoder',
    'MMDetDABEncoder',
    'MMDetDABHead',
    'MMDetDETRHead',
    'MMDetDecoder',
    'MMDetDeformableDecoder',
    'MMDetDeformableEncoder',
    'MMDetDeformableHead',
    'MMDetEncoder',
    'MMDetPointQueryGenerator',
    'MatcherAssigner',
    'MixedConditionalDETR',
    'MixedDABDETR',
    'MixedDETR',
    'MixedDeformableDETR',
]
