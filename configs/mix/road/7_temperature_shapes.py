# + temperature: 20 instead of 10000, in the code of cells and of anchors. This is DAB-DETR.
_base_ = '6_modulation_shapes.py'
model = {{_base_.road_temperature}}
