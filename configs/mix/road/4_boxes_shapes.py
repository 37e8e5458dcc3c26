# + 4-D anchors: boxes instead of points; w and h are part of the positional query, and boxes are measured from them.
_base_ = '3_points_shapes.py'
model = dict(query_generator=dict(anchor_dims=4), decoder=dict(positional_query=dict(anchor_dims=4)))
