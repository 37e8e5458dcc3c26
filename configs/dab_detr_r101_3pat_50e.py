# Three learned patterns per anchor: 900 queries (paper, table 2, R101*: AP 44.1).
_base_ = 'dab_detr_r101_50e.py'
model = dict(query_generator=dict(num_patterns=3))
