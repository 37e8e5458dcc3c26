# Where anchors start, on drawn shapes: the embedded default, with half of its steps.
page = 'docs/own_data.md'
about = 'Drawn shapes, 1,000 steps of 8 pictures, AP on 200 others.'
seeds = [0, 1, 2]
config = 'configs/shapes/dab_detr_shapes_5min.py'
train = dict(
    type='mmdet_dab.SyntheticShapes',
    num_images=2000,
    seed=0,
    image_size=(64, 64),
    metainfo=dict(classes=('ellipse', 'rectangle', 'triangle', 'ring')),
    num_objects=(2, 4),
    object_size=(0.3, 0.55),
    min_visible=1.0,
)
strategies = {
    'N(0, 1), as released': dict(type='mmdet_dab.NormalAnchors'),
    'uniform, one size': dict(type='mmdet_dab.UniformAnchors', size=0.4),
    'grid, mean size of the boxes': dict(type='mmdet_dab.BoxAnchors', dataset=train),
    'grid, six sizes of the boxes': dict(type='mmdet_dab.BoxAnchors', dataset=train, num_sizes=6),
    'boxes': dict(type='mmdet_dab.BoxAnchors', dataset=train, centers='data'),
}
runs = {
    name: dict(config=config, options={'model.query_generator.initial_anchors': dict(strategy, _delete_=True)})
    for name, strategy in strategies.items()
}
options = {'train_cfg.max_iters': 1000, 'train_cfg.val_interval': 100, 'param_scheduler.1.end': 1000}
