# The same with five times the steps.
_base_ = 'dab_detr_shapes_5min.py'

max_iters = 10_000
train_cfg = dict(max_iters=max_iters, val_interval=2500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min_ratio=0.01),
]
default_hooks = dict(checkpoint=dict(interval=1000))
