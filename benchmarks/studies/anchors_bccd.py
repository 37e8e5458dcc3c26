# Where anchors start, on blood cells: the config for them, with a third of its epochs.
page = 'docs/own_data.md'
about = 'Blood cells (BCCD) at 256 × 192 pixels, 18 epochs (468 steps of 8 pictures), AP on the 87 pictures of val.'
seeds = [0, 1, 2]
config = 'configs/custom/bccd_r18_c4_55e.py'
train = dict(
    type='CocoDataset',
    data_root='data/bccd/',
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/'),
    metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
)
strategies = {
    'N(0, 1), as released': dict(type='mmdet_dab.NormalAnchors'),
    'uniform, one size': dict(type='mmdet_dab.UniformAnchors', size=(0.165, 0.21)),
    'grid, one size': dict(type='mmdet_dab.GridAnchors', size=(0.165, 0.21)),
    'grid, sizes of the boxes': dict(type='mmdet_dab.BoxAnchors', dataset=train),
    'boxes': dict(type='mmdet_dab.BoxAnchors', dataset=train, centers='data'),
}
runs = {
    name: dict(config=config, options={'model.query_generator.initial_anchors': dict(strategy, _delete_=True)})
    for name, strategy in strategies.items()
}
options = {'train_cfg.max_epochs': 18, 'train_cfg.val_interval': 6, 'param_scheduler.1.end': 18}
