# Your own data, by the example of the blood cells of BCCD (MIT licence,
# https://github.com/Shenggan/BCCD_Dataset): 364 images of 640×480, three classes, up to 30 cells in
# an image. From random initialisation, in 25 minutes on one core. What each choice is worth:
# docs/studies.md.
_base_ = '../_base_/recipes/from_scratch.py'

# --- Your data: names as in the annotation file's categories, and in their order -----------------
data_root = 'data/bccd/'
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'), palette=[(220, 60, 60), (60, 90, 220), (240, 180, 40)])
images = dict(img=data_root + 'images/')
train_annotations, val_annotations = data_root + 'annotations/train.json', data_root + 'annotations/val.json'

# --- What you may want to tune ------------------------------------------------------------------
max_epochs = 55
batch_size = 4
learning_rate = 1e-3
scale = (256, 192)
# About twice the number of objects in the fullest image.
num_queries = 60

# --- Where these values act ---------------------------------------------------------------------
model = dict(
    num_classes=len(metainfo['classes']),
    query_generator=dict(generator=dict(num_queries=num_queries)),
    # Half the size of a cell.
    decoder=dict(layer=dict(cross_attention=dict(init_cfg=dict(radius=0.09)))),
    bbox_head=dict(selection=dict(max_per_img=100)),
)
resizing = dict(type='Resize', scale=scale, keep_ratio=False)
train_pipeline = [
    {{_base_.load_image}},
    {{_base_.load_boxes}},
    {{_base_.crop_half}},
    resizing,
    # A microscope has no upright.
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    # Slivers of cells at the border are left out.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(4, 4), keep_empty=False),
    {{_base_.pack}},
]
test_pipeline = [{{_base_.load_image}}, resizing, {{_base_.load_boxes}}, {{_base_.pack_test}}]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    dataset=dict(metainfo=metainfo, ann_file=train_annotations, data_prefix=images, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    dataset=dict(metainfo=metainfo, ann_file=val_annotations, data_prefix=images, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=val_annotations)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=11)
optim_wrapper = dict(optimizer=dict(lr=learning_rate))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, eta_min_ratio=0.01, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(
    checkpoint=dict(interval=5),
    # Weights are averaged over the last 500 steps.
    ema=dict(momentum=0.002),
)
