# Where anchors start, on a sample of COCO: the first 128 pictures of train2017, and the four classes with most
# objects. Far too little to learn COCO from (the first run had AP 0.001 on val2017); validated are the pictures that are
# trained on, which shows what is learned faster.
from benchmarks.variants import initial_anchors

page = 'docs/own_data.md'
about = (
    'Of the first 128 pictures of COCO train2017 the 75 with a person, car, cup or chair, at 192 × 144 pixels, '
    '16 epochs (304 steps of 4); AP on the 128 pictures themselves.'
)
seeds = [0, 1, 2]
config = 'configs/custom/bccd_r18_c4_55e.py'
classes = dict(classes=('person', 'car', 'cup', 'chair'))
annotations = 'annotations/instances_train2017.json'
train = dict(
    type='CocoDataset',
    data_root='data/coco128/',
    ann_file=annotations,
    data_prefix=dict(img='train2017/'),
    metainfo=classes,
)
runs = initial_anchors(config, 'model.query_generator.generator', (0.063, 0.11), train)
options = {
    'train_cfg.max_epochs': 16,
    'train_cfg.val_interval': 4,
    'param_scheduler.1.end': 16,
    'default_hooks.ema.momentum': 0.02,
    'model.bbox_head.num_classes': 4,
    'model.query_generator.num_classes': 4,
    'train_dataloader.dataset.pipeline.3.scale': (192, 144),
    'train_dataloader.dataset.pipeline.4': dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    'val_dataloader.dataset.pipeline.1.scale': (192, 144),
    'val_evaluator.ann_file': f'data/coco128/{annotations}',
}
for loader in ('train', 'val'):
    options |= {
        f'{loader}_dataloader.dataset.data_root': 'data/coco128/',
        f'{loader}_dataloader.dataset.ann_file': annotations,
        f'{loader}_dataloader.dataset.data_prefix.img': 'train2017/',
        f'{loader}_dataloader.dataset.metainfo': dict(classes, _delete_=True),
    }
