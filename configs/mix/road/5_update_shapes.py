# + update: anchors move after every layer.
_base_ = '4_boxes_shapes.py'
model = dict(decoder=dict(anchor_update=dict(_delete_=True, type='mmdet_dab.AnchorUpdate')))
