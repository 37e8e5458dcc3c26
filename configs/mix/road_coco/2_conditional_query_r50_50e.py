# + conditional spatial query: every query predicts a point, and the code of the point times MLP(content) is set
# beside content in cross-attention; boxes are measured from the point. This is Conditional DETR.
_base_ = '1_focal_loss_r50_50e.py'
model = dict(
    query_generator=dict(type='mmdet_dab.PredictedPointQueryGenerator'),
    decoder=dict(
        positional_query=dict(type='mmdet_dab.ConditionalPositionalQuery', embed_dims=256),
        layer=dict(
            self_attention=dict(type='mmdet_dab.ConditionalSelfAttention'),
            cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention'),
        ),
        first_layer=dict(cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention', position_in_content=True)),
    ),
    bbox_head=dict(start_at_references=True),
)
