# Three learned patterns per anchor: 900 queries (paper, table 2, DC5-R101*: AP 46.6).
_base_ = 'dab_detr_r101_dc5_50e.py'
model = dict(query_generator=dict(num_patterns=3))
