# DETR with ResNet-50 (arXiv:2005.12872), in what differs from DAB-DETR: queries are learned
# positions without a place in the image, one projection serves content and position, a softmax
# tells classes from background.
_base_ = 'dab_detr_r50.py'

model = dict(
    dropout=0.1,
    act_cfg=dict(type='ReLU'),
    positional_encoder=dict(temperature=10000, box_temperature=None),
    encoder=dict(position_scale=None),
    query_generator=dict(_delete_=True, type='LearnedQueryGenerator', num_queries=100),
    decoder=dict(
        positional_query=dict(_delete_=True, type='LearnedPositionalQuery'),
        layer=dict(self_attention=dict(type='QuerySelfAttention'), cross_attention=dict(type='QueryCrossAttention')),
        first_layer=None,
        anchor_update=None,
    ),
    bbox_head=dict(
        loss_cls=dict(type='CrossEntropyLoss'),
        class_scores=dict(type='SoftmaxScores'),
        matcher=dict(costs=[dict(type='mmdet_dab.ClassificationCost'), dict(type='BoxL1Cost'), dict(type='GIoUCost')]),
        selection=dict(max_per_img=100),
        # Queries without anchors would all start with the same box.
        init_cfg=None,
    ),
)
