# Anchor centres uniform over the image, and never trained (paper, table 8, DC5-R101*: AP 46.7).
_base_ = 'dab_detr_r101_dc5_3pat_50e.py'
model = dict(
    query_generator=dict(fixed_centers=True, initial_anchors=dict(type='UniformAnchors')),
)
