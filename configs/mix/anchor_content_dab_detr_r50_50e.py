# Content that knows its anchor instead of zeros: from random weights DAB-DETR learns drawn shapes
# much faster with it (docs/convergence.md). Not in the paper; not measured on COCO.
_base_ = '../dab_detr_r50_50e.py'
model = dict(query_generator=dict(type='AnchorContentQueryGenerator'))
