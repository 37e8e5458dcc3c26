# + 2-D anchors: the point itself is learned, and the positional query is MLP(PE(point)).
_base_ = '2_conditional_query_shapes.py'
model = dict(
    query_generator=dict(
        _delete_=True,
        type='mmdet_dab.AnchorQueryGenerator',
        num_queries=16,
        embed_dims=96,
        anchor_dims=2,
        initial_anchors=dict(type='mmdet_dab.NormalAnchors'),
    ),
    decoder=dict(
        type='mmdet_dab.AnchorDecoder',
        positional_query=dict(type='mmdet_dab.AnchorPositionalQuery', anchor_dims=2, modulate_size=False),
        anchor_update=None,
    ),
)
