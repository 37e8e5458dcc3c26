# + 2-D anchors: the point itself is learned, and the positional query is MLP(PE(point)).
_base_ = '2_conditional_query_r50_50e.py'
model = {{_base_.road_points}}
