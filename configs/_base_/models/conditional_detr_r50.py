# Conditional DETR with ResNet-50 (arXiv:2108.06152), in what differs from DETR: every query
# predicts a point, whose code times MLP(content) is the positional half of its cross-attention; x
# and y are measured from it; focal loss. Dropout is that of the authors' code; mmdet's has none on
# the residual branches of the decoder's attentions.
_base_ = 'detr_r50.py'

model = dict(
    query_generator=dict(type='PredictedPointQueryGenerator', num_queries=300),
    decoder=dict(
        positional_query=dict(type='ConditionalPositionalQuery', position_scale=dict(type='ContentScale')),
        layer=dict(
            self_attention=dict(type='ConditionalSelfAttention'),
            cross_attention=dict(type='ConditionalCrossAttention'),
        ),
        # Content says nothing yet in the first layer: there position goes into content, too.
        first_layer=dict(
            _delete_=True, cross_attention=dict(type='ConditionalCrossAttention', position_in_content=True)
        ),
    ),
    bbox_head=dict(
        loss_cls=dict(type='SigmoidFocalLoss', loss_weight=2.0),
        class_scores=dict(_delete_=True, type='SigmoidScores'),
        eps=1e-5,
        matcher={{_base_.dab_matcher}},
        init_cfg=dict(_delete_=True, type='BoxesAtReferences'),
    ),
)
