# Temperature 20, without modulation: the base of table 6 (paper: AP 40.1).
_base_ = '../dab_detr_r50_50e.py'
model = dict(decoder=dict(positional_query=dict(size_modulation=None)))
