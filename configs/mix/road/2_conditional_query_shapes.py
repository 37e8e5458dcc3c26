# + conditional spatial query: every query predicts a point, and the code of the point times
# MLP(content) is set beside content in cross-attention; boxes are measured from the point. This is
# Conditional DETR.
_base_ = '1_focal_loss_shapes.py'
model = {{_base_.road_conditional_query}}
