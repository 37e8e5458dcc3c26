# The paper's recipe: AdamW, 50 epochs, learning rate × 0.1 after 40; for a total batch of 16.
max_epochs = 50
train_cfg = dict(type='ResumableEpochLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    # fused: one pass over weights, gradients and moments.
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)

param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[40], gamma=0.1),
]

# `--auto-scale-lr` scales the learning rate to your number of GPUs × batch_size.
auto_scale_lr = dict(base_batch_size=16, enable=False)
