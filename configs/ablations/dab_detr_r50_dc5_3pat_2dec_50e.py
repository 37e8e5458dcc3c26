# 2 decoder layers (paper, table 7: AP 40.2; 45.7 with 6).
_base_ = '../dab_detr_r50_dc5_3pat_50e.py'
model = dict(decoder=dict(num_layers=2))
