# Anchors are points (paper, table 3, row 4: AP 44.0 instead of 45.7).
_base_ = 'dab_detr_r50_dc5_3pat_no_modulation_50e.py'
model = dict(anchor_dims=2)
