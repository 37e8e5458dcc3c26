# What further parts of the recipe for little data are worth, at the size and length of
# anchors_bccd: one left out or changed at a time.
page = 'docs/studies.md'
about = 'Blood cells (BCCD) at 192 × 144 pixels, 8 epochs (416 steps of 4 images), AP on the 87 images of val.'
seeds = [0]
config = 'configs/custom/bccd_r18_c4_55e.py'
scale = (192, 144)
pipeline = 'train_dataloader.dataset.pipeline'
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
squeeze = dict(type='Resize', scale=scale, keep_ratio=False)
flip = dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
no_slivers = dict(type='FilterAnnotations', min_gt_bbox_wh=(4, 4), keep_empty=False)
pack = dict(type='PackDetInputs')
# Half of the images are put together from parts of four, at the scale of the others.
mosaic = dict(
    _delete_=True,
    type='MultiImageMixDataset',
    dataset=dict(
        type='CocoDataset',
        data_root='data/bccd/',
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
        filter_cfg=dict(filter_empty_gt=True, min_size=0),
        pipeline=[*load, squeeze],
    ),
    pipeline=[
        dict(type='Mosaic', img_scale=scale, prob=0.5),
        dict(type='RandomCrop', crop_size=scale),
        flip,
        no_slivers,
        pack,
    ],
)
changes = {
    'the recipe': {},
    '5 decoder layers': {'model.decoder.num_layers': 5},
    'no encoder': {'model.encoder.num_layers': 0, 'model.encoder.position_scale': None},
    'mosaic instead of crop': {'train_dataloader.dataset': mosaic},
    'group norm': {'model.backbone.norm_cfg': dict(type='GN', num_groups=8, requires_grad=True, _delete_=True)},
    'learning rate 5e-4': {'optim_wrapper.optimizer.lr': 5e-4},
    'learning rate 2e-3': {'optim_wrapper.optimizer.lr': 2e-3},
    'no warm-up': {'param_scheduler.0.end': 1},
    'stem frozen': {'model.backbone.frozen_stages': 0},
    # The average is as good as the newest weights.
    'without averaged weights': {'default_hooks.ema.momentum': 0.999},
    'without denoising': {'model.query_generator.num_groups': 0},
    'whole images only': {f'{pipeline}.2.prob': 0.0},
    'no flips': {f'{pipeline}.4.prob': [0.0, 0.0, 0.0]},
}
runs = {name: dict(config=config, options=options) for name, options in changes.items()}
options = {
    'train_cfg.max_epochs': 8,
    'train_cfg.val_interval': 4,
    'param_scheduler.1.end': 8,
    'default_hooks.ema.momentum': 0.014,
    'train_dataloader.dataset.pipeline.3.scale': scale,
    'val_dataloader.dataset.pipeline.1.scale': scale,
}
