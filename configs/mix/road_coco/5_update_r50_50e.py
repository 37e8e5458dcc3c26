# + update: anchors move after every layer.
_base_ = '4_boxes_r50_50e.py'
model = {{_base_.road_update}}
