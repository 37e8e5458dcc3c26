# As the paper says, and the released code does not: the same temperature of 20 for cells and for
# boxes.
_base_ = '../dab_detr_r50_50e.py'
model = dict(positional_encoder=dict(box_temperature=None))
