# The embedded default: from random initialisation on drawn images, in five minutes on two CPU
# cores.
_base_ = [
    '../_base_/models/dab_detr_small.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/default_runtime.py',
]

max_iters = 2000

model = dict(
    embed_dims=96,
    num_heads=6,
    hidden_dims=256,
    num_classes={{_base_.num_classes}},
    num_queries=16,
    # Stride 8: the images are small. Two stages see 99 pixels, more than an image has; so the
    # encoder's view of the whole is not missed, and its time buys more steps.
    backbone=dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(in_channels=[64]),
    encoder=dict(num_layers=0, position_scale=None),
    query_generator=dict(initial_anchors=dict(type='GridAnchors', size=0.4)),
    decoder=dict(
        positional_query=dict(position_scale=dict(init_cfg=dict(type='UnitPositionScale'))),
        layer=dict(cross_attention=dict(init_cfg=dict(type='DirectedAttention', radius=0.16))),
    ),
    bbox_head=dict(selection=dict(max_per_img=50)),
)

train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=1000)
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
