# + update: anchors move after every layer.
_base_ = '4_boxes_shapes.py'
model = {{_base_.road_update}}
