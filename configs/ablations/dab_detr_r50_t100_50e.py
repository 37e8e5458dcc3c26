# Temperature 100 for cells, without modulation (paper, table 6: AP 39.8; 40.1 with 20).
_base_ = 'dab_detr_r50_t20_50e.py'
model = dict(positional_encoder=dict(temperature=100))
