# Anchor centres uniform over the image, and never trained (paper, table 8, DC5-R50*: AP 45.8).
_base_ = 'dab_detr_r50_dc5_3pat_50e.py'
model = dict(
    query_generator=dict(fixed_centers=True, initial_anchors=dict(type='UniformAnchors')),
)
