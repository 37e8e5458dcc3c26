# Three learned patterns per anchor: 900 queries (paper, table 2, R50*: AP 42.6).
_base_ = 'dab_detr_r50_50e.py'
model = dict(query_generator=dict(num_patterns=3))
