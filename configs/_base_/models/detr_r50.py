# DETR with ResNet-50 (arXiv:2005.12872), in what differs from DAB-DETR: queries are learned positions without a place
# in the picture, one projection serves content and position, a softmax tells classes from background.
_base_ = 'dab_detr_r50.py'

model = dict(
    positional_encoder=dict(temperature=10000, box_temperature=None),
    encoder=dict(
        position_scale=False,
        layer=dict(
            dropout=0.1,
            self_attention=dict(dropout=0.1),
            feed_forward=dict(act_cfg=dict(type='ReLU'), dropout=0.1),
        ),
    ),
    query_generator=dict(_delete_=True, type='mmdet_dab.LearnedQueryGenerator', num_queries=100, embed_dims=256),
    decoder=dict(
        _delete_=True,
        type='mmdet_dab.QueryDecoder',
        num_layers=6,
        embed_dims=256,
        positional_query=dict(type='mmdet_dab.LearnedPositionalQuery'),
        layer=dict(
            type='mmdet_dab.DecoderLayer',
            embed_dims=256,
            dropout=0.1,
            self_attention=dict(type='mmdet_dab.QuerySelfAttention', embed_dims=256, num_heads=8, dropout=0.1),
            cross_attention=dict(type='mmdet_dab.QueryCrossAttention', embed_dims=256, num_heads=8, dropout=0.1),
            feed_forward=dict(
                type='mmdet_dab.FeedForward',
                embed_dims=256,
                hidden_dims=2048,
                act_cfg=dict(type='ReLU'),
                dropout=0.1,
            ),
        ),
    ),
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        background_weight=0.1,
        start_at_references=False,
        matcher=dict(
            costs=[
                dict(type='mmdet_dab.ClassificationCost', weight=1.0),
                dict(type='mmdet_dab.BoxL1Cost', weight=5.0),
                dict(type='mmdet_dab.GIoUCost', weight=2.0),
            ],
        ),
        max_per_img=100,
    ),
)
