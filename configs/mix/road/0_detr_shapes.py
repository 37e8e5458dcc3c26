# The road from DETR to DAB-DETR on drawn shapes, station 0: DETR. Every next station adds one idea to the one before,
# and the last is DAB-DETR as in the paper, without the aids of the embedded default (grid of anchors, directed
# attention), but with an encoder layer. All that is none of the ideas stays: backbone, encoder, widths, recipe.
_base_ = '../../shapes/dab_detr_shapes_5min.py'

model = dict(
    positional_encoder=dict(temperature=10000),
    encoder=dict(
        num_layers=1,
        position_scale=True,
        layer=dict(
            embed_dims=96,
            self_attention=dict(embed_dims=96, num_heads=6),
            feed_forward=dict(embed_dims=96, hidden_dims=256),
        ),
    ),
    query_generator=dict(_delete_=True, type='mmdet_dab.LearnedQueryGenerator', num_queries=16, embed_dims=96),
    decoder=dict(
        _delete_=True,
        type='mmdet_dab.QueryDecoder',
        num_layers=3,
        embed_dims=96,
        positional_query=dict(type='mmdet_dab.LearnedPositionalQuery'),
        layer=dict(
            type='mmdet_dab.DecoderLayer',
            embed_dims=96,
            self_attention=dict(type='mmdet_dab.QuerySelfAttention', embed_dims=96, num_heads=6),
            cross_attention=dict(type='mmdet_dab.QueryCrossAttention', embed_dims=96, num_heads=6),
            feed_forward=dict(type='mmdet_dab.FeedForward', embed_dims=96, hidden_dims=256, act_cfg=dict(type='PReLU')),
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
