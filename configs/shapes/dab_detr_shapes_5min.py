# The embedded default: from random initialisation on drawn pictures, in five minutes on two CPU cores.
_base_ = [
    '../_base_/models/dab_detr_small.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/default_runtime.py',
]

max_iters = 2000

model = dict(
    # Stride 8: the pictures are small. Two stages see 99 pixels, more than a picture has; so the encoder's
    # view of the whole is not missed, and its time buys more steps.
    backbone=dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(in_channels=[64], out_channels=96),
    positional_encoder=dict(embed_dims=96),
    tokenizer=dict(embed_dims=96),
    encoder=dict(num_layers=0, position_scale=False, embed_dims=96),
    query_generator=dict(
        num_queries=16,
        embed_dims=96,
        initial_anchors=dict(type='mmdet_dab.GridAnchors', size=0.4),
    ),
    decoder=dict(
        embed_dims=96,
        positional_query=dict(embed_dims=96, init_cfg=dict(type='mmdet_dab.UnitPositionScale')),
        layer=dict(
            embed_dims=96,
            self_attention=dict(embed_dims=96, num_heads=6),
            cross_attention=dict(
                embed_dims=96, num_heads=6, init_cfg=dict(type='mmdet_dab.DirectedAttention', radius=0.16)
            ),
            feed_forward=dict(embed_dims=96, hidden_dims=256),
        ),
    ),
    bbox_head=dict(num_classes={{_base_.num_classes}}, embed_dims=96, max_per_img=50),
)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min_ratio=0.01),
]

log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=400, max_keep_ckpts=2),
    visualization=dict(draw=False),
)
