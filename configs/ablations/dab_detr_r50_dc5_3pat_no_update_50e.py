# Anchors stay where they start (paper, table 3, row 2: AP 44.0 instead of 45.7).
_base_ = '../dab_detr_r50_dc5_3pat_50e.py'
model = dict(decoder=dict(anchor_update=None))
