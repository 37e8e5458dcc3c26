# + focal loss: a logit per class instead of a softmax over classes and background, in loss and
# matching.
_base_ = '0_detr_r50_50e.py'
model = {{_base_.road_focal_loss}}
