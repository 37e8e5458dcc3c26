# What the authors' released code computes, for their weights: anchors are encoded in parts of the
# padded canvas, so that a query's position depends on the size of the other images in the batch.
# Images without padding, and so batches of one, give the same either way. (Their issue 13,
# anchors of the first layer multiplied by the valid ratios along the wrong axis, is not in the code
# that the recorded figures come from: those agree with the right product only.)
_base_ = 'dab_deformable_detr_r50_50e.py'
model = dict(decoder=dict(anchor_frame=dict(type='CanvasFrame')))
