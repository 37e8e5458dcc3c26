# + 4-D anchors: boxes instead of points; w and h are part of the positional query, and boxes are
# measured from them.
_base_ = '3_points_shapes.py'
model = {{_base_.road_boxes}}
