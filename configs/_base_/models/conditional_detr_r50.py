# Conditional DETR with ResNet-50 (arXiv:2108.06152), in what differs from DETR: every query predicts a point, whose
# code times MLP(content) is the positional half of its cross-attention; x and y are measured from it; focal loss.
# Dropout is that of the authors' code; mmdet's has none on the residual branches of the decoder's attentions.
_base_ = 'detr_r50.py'

model = dict(
    query_generator=dict(type='mmdet_dab.PredictedPointQueryGenerator', num_queries=300),
    decoder=dict(
        positional_query=dict(type='mmdet_dab.ConditionalPositionalQuery', embed_dims=256),
        layer=dict(
            self_attention=dict(type='mmdet_dab.ConditionalSelfAttention'),
            cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention'),
        ),
        # Content says nothing yet in the first layer: there position goes into content, too.
        first_layer=dict(cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention', position_in_content=True)),
    ),
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='mmdet_dab.SigmoidFocalLoss', alpha=0.25, gamma=2.0, loss_weight=2.0),
        background_weight=None,
        start_at_references=True,
        eps=1e-5,
        matcher=dict(
            costs=[
                dict(type='mmdet_dab.FocalCost', weight=2.0),
                dict(type='mmdet_dab.BoxL1Cost', weight=5.0),
                dict(type='mmdet_dab.GIoUCost', weight=2.0),
            ],
        ),
    ),
)
