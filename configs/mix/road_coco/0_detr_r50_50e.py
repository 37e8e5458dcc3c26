# The road from DETR to DAB-DETR on COCO, station 0: DETR. Every next station adds one idea to the one before, and
# the last is DAB-DETR as in the paper. All that is none of the ideas is DAB-DETR's from the start and stays: backbone,
# encoder, widths, activation, number of queries, dropout, recipe.
_base_ = '../../dab_detr_r50_50e.py'

model = dict(
    positional_encoder=dict(temperature=10000, box_temperature=None),
    query_generator=dict(_delete_=True, type='mmdet_dab.LearnedQueryGenerator', num_queries=300, embed_dims=256),
    decoder=dict(
        _delete_=True,
        type='mmdet_dab.QueryDecoder',
        num_layers=6,
        embed_dims=256,
        positional_query=dict(type='mmdet_dab.LearnedPositionalQuery'),
        layer=dict(
            type='mmdet_dab.DecoderLayer',
            embed_dims=256,
            self_attention=dict(type='mmdet_dab.QuerySelfAttention', embed_dims=256, num_heads=8),
            cross_attention=dict(type='mmdet_dab.QueryCrossAttention', embed_dims=256, num_heads=8),
            feed_forward=dict(
                type='mmdet_dab.FeedForward', embed_dims=256, hidden_dims=2048, act_cfg=dict(type='PReLU')
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
    ),
)
