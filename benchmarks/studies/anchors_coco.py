# Where anchors start, on a sample of COCO: of the first 128 images of train2017 those with
# objects of the four most frequent classes, and of them the first 16, learned by heart. In as many
# steps, all 75 are too many to learn, and far too few to learn COCO from: AP was 0.000 on them,
# 0.001 on val2017.
from benchmarks.variants import initial_anchors

page = 'docs/studies.md'
about = (
    'The first 16 images of COCO train2017 with a person, car, cup or chair at 192 × 144 pixels, learned by heart: '
    '100 epochs (400 steps of 4), AP on the same images.'
)
seeds = [0, 1, 2]
config = 'configs/custom/bccd_r18_c4_55e.py'
annotations = 'annotations/instances_train2017.json'
sample = dict(
    type='CocoDataset',
    data_root='data/coco128/',
    ann_file=annotations,
    data_prefix=dict(img='train2017/'),
    metainfo=dict(classes=('person', 'car', 'cup', 'chair')),
    filter_cfg=dict(filter_empty_gt=True, min_size=0),
    indices=16,
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(192, 144), keep_ratio=False)
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
pipeline = [*load, resize, dict(type='PackDetInputs', meta_keys=keys)]
runs = initial_anchors(config, 'model.query_generator.generator', (0.063, 0.11))
options = {
    'train_cfg.max_epochs': 100,
    'train_cfg.val_interval': 25,
    'param_scheduler.1.end': 100,
    'default_hooks.ema.momentum': 0.014,
    'model.num_classes': 4,
    'train_dataloader.dataset': dict(sample, pipeline=pipeline, _delete_=True),
    # Without test_mode the same 16 are chosen; without a file the ground truth is what the images
    # come with.
    'val_dataloader.dataset': dict(sample, pipeline=pipeline, _delete_=True),
    'val_evaluator.ann_file': None,
}
