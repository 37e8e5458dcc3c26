# Can it learn at all? The model of the paper on four images of COCO, small, from random weights:
# the loss must go towards zero and the AP on the same images towards 1. A check for a changed model
# or a new machine, before days of training are spent:
#   python tools/train.py configs/custom/overfit_coco4_r50.py --cfg-options data_root=/path/to/coco
_base_ = '../dab_detr_r50_50e.py'

max_iters = 300
images = [0, 1, 2, 3]

model = dict(
    # Nothing is pretrained here, so nothing is frozen.
    backbone=dict(init_cfg=None, frozen_stages=-1, norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False),
    num_queries=100,
    bbox_head=dict(selection=dict(max_per_img=100)),
)

load, annotations = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)
fit = dict(type='Resize', scale=(208, 160), keep_ratio=True)
train_pipeline = [load, annotations, fit, dict(type='PackDetInputs')]
test_pipeline = [
    load,
    fit,
    annotations,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    batch_sampler=None,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(indices=images, pipeline=train_pipeline),
)
val_dataloader = dict(
    dataset=dict(
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        test_mode=False,
        indices=images,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
# Without an annotation file the ground truth comes from the four images alone.
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

train_cfg = dict(_delete_=True, type='ResumableIterLoop', max_iters=max_iters, val_interval=100)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iters, milestones=[240], gamma=0.1),
]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=300, save_best=None),
    visualization=dict(interval=1),
)
