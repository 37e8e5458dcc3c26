# The stations of road_bccd that are about anchors, with EfficientNet-Lite0 from ImageNet instead of
# the small ResNet from random weights; all else is the same.
from benchmarks.studies.road_bccd import options as cells
from benchmarks.variants import stations

page = 'docs/convergence.md'
about = (
    'Blood cells (BCCD) at 128 × 96 pixels, 600 steps of 8 images, AP on the 87 images of val, with EfficientNet-Lite0 '
    'from ImageNet as in `_base_/models/dab_detr_lite0.py`.'
)
seeds = [0, 1, 2]
runs = {name: run for name, run in stations((0.165, 0.21), num_queries=60).items() if name[0] in '234567'}
lite = dict(_delete_=True, type='EfficientNetLite', out_indices=(2,), frozen_stages=1)
options = {
    **cells,
    'model.data_preprocessor.mean': [127.0, 127.0, 127.0],
    'model.data_preprocessor.std': [128.0, 128.0, 128.0],
    'model.backbone': dict(lite, init_cfg=dict(type='ImageNetWheel')),
    'model.neck.in_channels': [112],
    'model.neck.norm_cfg': dict(_delete_=True, type='CellNorm'),
    'optim_wrapper.paramwise_cfg': dict(custom_keys={'backbone': dict(lr_mult=0.5)}),
    'default_hooks.channels_last': dict(type='ChannelsLastHook'),
}
