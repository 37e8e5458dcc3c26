# The same road on blood cells: the configs of configs/mix/road with the data of configs/custom/bccd_r18_c4_55e.py at
# a fifth of their size, so that nine configs and three seeds fit into an hour.
page = 'docs/convergence.md'
about = 'Blood cells (BCCD) at 128 × 96 pixels, 600 steps of 8 pictures, AP on the 87 pictures of val.'
seeds = [0, 1, 2]
runs = {
    '0 DETR': dict(config='configs/mix/road/0_detr_shapes.py'),
    '1 + focal loss': dict(config='configs/mix/road/1_focal_loss_shapes.py'),
    '2 + conditional query': dict(config='configs/mix/road/2_conditional_query_shapes.py'),
    '3 + 2-D anchors': dict(config='configs/mix/road/3_points_shapes.py'),
    '4 + 4-D anchors': dict(config='configs/mix/road/4_boxes_shapes.py'),
    '5 + update': dict(config='configs/mix/road/5_update_shapes.py'),
    '6 + modulation': dict(config='configs/mix/road/6_modulation_shapes.py'),
    '7 + temperature 20': dict(config='configs/mix/road/7_temperature_shapes.py'),
    '8 + denoising': dict(
        config='configs/mix/road/8_denoising_shapes.py',
        options={'model.query_generator.num_classes': 3},
    ),
}
# What the road leaves out: where anchors start.
grid = dict(_delete_=True, type='mmdet_dab.GridAnchors', size=(0.165, 0.21))
runs['7 with anchors on a grid'] = dict(
    config='configs/mix/road/7_temperature_shapes.py', options={'model.query_generator.initial_anchors': grid}
)
runs['8 with anchors on a grid'] = dict(
    config='configs/mix/road/8_denoising_shapes.py',
    options={'model.query_generator.num_classes': 3, 'model.query_generator.generator.initial_anchors': grid},
)

queries = 60
for name, run in runs.items():
    generator = 'model.query_generator.generator' if name.startswith('8') else 'model.query_generator'
    run.setdefault('options', {})[f'{generator}.num_queries'] = queries

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
    'model.bbox_head.num_classes': 3,
    'model.bbox_head.max_per_img': 100,
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
