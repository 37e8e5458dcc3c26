"""The small model with few channels, queries and layers."""

_base_ = '../../configs/_base_/models/dab_detr_small.py'

model = dict(
    backbone=dict(base_channels=8, stem_channels=8),
    neck=dict(in_channels=[32]),
    num_classes=2,
    num_queries=10,
    decoder=dict(num_layers=2),
    bbox_head=dict(selection=dict(max_per_img=10)),
)
