# The same road on blood cells: the configs of configs/mix/road with the data of
# configs/custom/bccd_r18_c4_55e.py at a fifth of their size, so that nine configs and three seeds
# fit into an hour.
from benchmarks.variants import stations

page = 'docs/convergence.md'
about = 'Blood cells (BCCD) at 128 × 96 pixels, 600 steps of 8 images, AP on the 87 images of val.'
seeds = [0, 1, 2]
runs = stations((0.165, 0.21), num_queries=60)

load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(128, 96), keep_ratio=True)
flip = dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
cells = dict(
    type='CocoDataset',
    data_root='data/bccd/',
    data_prefix=dict(img='images/'),
    metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
)
options = {
    'model.num_classes': 3,
    'model.bbox_head.selection.max_per_img': 100,
    'train_dataloader.dataset': dict(
        cells,
        _delete_=True,
        ann_file='annotations/train.json',
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[*load, resize, flip, dict(type='PackDetInputs')],
    ),
    'train_dataloader.sampler.shuffle': True,
    'val_dataloader.dataset': dict(
        cells,
        _delete_=True,
        ann_file='annotations/val.json',
        test_mode=True,
        pipeline=[load[0], resize, load[1], dict(type='PackDetInputs', meta_keys=keys)],
    ),
    'val_evaluator.ann_file': 'data/bccd/annotations/val.json',
    'train_cfg.max_iters': 600,
    'train_cfg.val_interval': 300,
    'param_scheduler.1.end': 600,
}
