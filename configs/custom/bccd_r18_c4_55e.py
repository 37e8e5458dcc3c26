# Your own data, by the example of the blood cells of BCCD (https://github.com/Shenggan/BCCD_Dataset, MIT):
# 364 images of 640×480, three classes, up to 30 cells in an image. From random initialisation, in 25 minutes on one
# core. What each choice is worth: docs/own_data.md.
_base_ = [
    '../_base_/models/dn_detr_small.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]

# --- Your data: names as in the annotation file's categories, and in their order ----------------------
data_root = 'data/bccd/'
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'), palette=[(220, 60, 60), (60, 90, 220), (240, 180, 40)])
train_annotations, val_annotations = 'annotations/train.json', 'annotations/val.json'
images = dict(img='images/')
scale = (256, 192)

# --- What you may want to tune -----------------------------------------------------------------------
max_epochs = 55
batch_size = 4
learning_rate = 1e-3

model = dict(
    num_classes=len(metainfo['classes']),
    query_generator=dict(
        generator=dict(
            # About twice the number of objects in the fullest image.
            num_queries=60,
            # Anchors all over the image, of the mean size of the training's cells, instead of N(0, 1) before the
            # sigmoid; read when the training starts.
            initial_anchors=dict(type='BoxAnchors'),
        ),
    ),
    decoder=dict(
        # Attention looks around the anchor from the first step, at half the size of a cell.
        positional_query=dict(position_scale=dict(init_cfg=dict(type='UnitPositionScale'))),
        layer=dict(cross_attention=dict(init_cfg=dict(type='DirectedAttention', radius=0.09, gain=3.0))),
    ),
    bbox_head=dict(
        selection=dict(
            max_per_img=100,
            # After so short a training run some cells are still found twice.
            duplicates=dict(type='MatrixNMS'),
        ),
    ),
)

# --- What you need not touch ---------------------------------------------------------------------------
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    # Half of the images are parts of one. They are squeezed to the same size, not padded to it: batch norm, which
    # learns from scratch, would take padding for image.
    dict(
        type='RandomApply',
        transforms=[dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.7, 0.7))],
        prob=0.5,
    ),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    # Slivers of cells at the border are left out.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(4, 4), keep_empty=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file=train_annotations,
        data_prefix=images,
        filter_cfg=dict(min_size=0),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file=val_annotations, data_prefix=images, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_annotations)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=11)
optim_wrapper = dict(
    optimizer=dict(lr=learning_rate, fused=True),
    # From scratch the backbone learns as fast as the rest.
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, eta_min_ratio=0.01, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(
    checkpoint=dict(interval=5),
    visualization=dict(interval=20),
    # Validated and kept is an average of the weights over the last 500 steps, which is better than the last ones.
    ema=dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.002, gamma=200),
)
