# The temperature of language models for cells too (paper, table 3, row 5: AP 44.4 instead of 45.7).
_base_ = '../dab_detr_r50_dc5_3pat_50e.py'
model = dict(positional_encoder=dict(temperature=10000))
