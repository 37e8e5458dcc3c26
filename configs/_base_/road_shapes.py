# What the road on shapes starts from: the embedded default with an encoder layer.
_base_ = '../shapes/dab_detr_shapes_5min.py'
model = dict(encoder=dict(num_layers=1, position_scale=dict(_delete_=True, type='ContentScale')))
