# The stations of the road that are about anchors, with EfficientNet-Lite0 from ImageNet instead of
# the small ResNet from random weights, and what the page on convergence found about boxes.
from benchmarks.studies.road_bccd import cells, flip, keys, load
from benchmarks.studies.road_bccd import options as road
from benchmarks.variants import stations

page = 'docs/convergence.md'
about = (
    'Blood cells (BCCD) at 256 × 192 pixels, 1,500 steps of 4 images in bfloat16, AP on the 87 images of val, with '
    'EfficientNet-Lite0 from ImageNet as in `_base_/models/dab_detr_lite0.py`.'
)
seeds = [0, 1, 2]
found = stations((0.165, 0.21), num_queries=60)
runs = {name: run for name, run in found.items() if name[0] in '234567'}
dab = found['7 + temperature 20']
told = {'model.query_generator.type': 'AnchorContentQueryGenerator'}
directed = {
    'model.decoder.positional_query.position_scale.init_cfg': dict(type='UnitPositionScale'),
    'model.decoder.layer.cross_attention.init_cfg': dict(type='DirectedAttention', radius=0.094),
}
runs['7, content told its anchor'] = dict(dab, options={**dab['options'], **told})
runs['7, directed attention'] = dict(dab, options={**dab['options'], **directed})

resize = dict(type='Resize', scale=(256, 192), keep_ratio=True)
lite = dict(_delete_=True, type='EfficientNetLite', out_indices=(2,), frozen_stages=1)
options = {
    **road,
    'train_dataloader.dataset': dict(
        cells,
        _delete_=True,
        ann_file='annotations/train.json',
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[*load, resize, flip, dict(type='PackDetInputs')],
    ),
    'val_dataloader.dataset': dict(
        cells,
        _delete_=True,
        ann_file='annotations/val.json',
        test_mode=True,
        pipeline=[load[0], resize, load[1], dict(type='PackDetInputs', meta_keys=keys)],
    ),
    'train_dataloader.batch_size': 4,
    'train_cfg.max_iters': 1500,
    'train_cfg.val_interval': 750,
    'param_scheduler.1.end': 1500,
    'optim_wrapper.type': 'CPUAmpOptimWrapper',
    'model.data_preprocessor.mean': [127.0, 127.0, 127.0],
    'model.data_preprocessor.std': [128.0, 128.0, 128.0],
    'model.backbone': dict(lite, init_cfg=dict(type='ImageNetWheel')),
    'model.neck.in_channels': [112],
    'model.neck.norm_cfg': dict(_delete_=True, type='CellNorm'),
    'optim_wrapper.paramwise_cfg': dict(custom_keys={'backbone': dict(lr_mult=0.5)}),
    'default_hooks.channels_last': dict(type='ChannelsLastHook'),
}
