# Width and height do not modulate the attention (paper, table 3, row 3: AP 45.0 instead of 45.7).
_base_ = '../dab_detr_r50_dc5_3pat_50e.py'
model = dict(decoder=dict(positional_query=dict(size_modulation=None)))
