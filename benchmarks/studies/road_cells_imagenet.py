# The stations of the road that are about anchors, with EfficientNet-Lite0 from ImageNet instead of
# the small ResNet from random weights, and what the page on convergence found about boxes.
from benchmarks.starts import BFLOAT16
from benchmarks.variants import TOLD, blood_cells, directed, stations

page = 'docs/convergence.md'
about = (
    'Blood cells (BCCD) at 256 × 192 pixels, 1,500 steps of 4 images in bfloat16, AP on the 87 images of val, with '
    'EfficientNet-Lite0 from ImageNet as in `_base_/models/dab_detr_lite0.py`.'
)
seeds = [0, 1, 2]
found = stations((0.165, 0.21), num_queries=60)
runs = {name: run for name, run in found.items() if name[0] in '234567'}
# The same start for points and for boxes that stay, so that what is compared is a point and a box.
on_grid = found['7 with anchors on a grid']['options']
for name in ('3 + 2-D anchors', '4 + 4-D anchors'):
    runs[f'{name[0]} with anchors on a grid'] = dict(found[name], options=on_grid)
dab = found['7 + temperature 20']
runs['7, content told its anchor'] = dict(dab, options={**dab['options'], **TOLD})
runs['7, directed attention'] = dict(dab, options={**dab['options'], **directed(0.094)})

lite = dict(_delete_=True, type='EfficientNetLite', out_indices=(2,), frozen_stages=1)
options = {
    **blood_cells((256, 192), 1500),
    'train_dataloader.batch_size': 4,
    **BFLOAT16,
    'model.data_preprocessor.mean': [127.0, 127.0, 127.0],
    'model.data_preprocessor.std': [128.0, 128.0, 128.0],
    'model.backbone': dict(lite, init_cfg=dict(type='ImageNetWheel')),
    'model.neck.in_channels': [112],
    'model.neck.norm_cfg': dict(_delete_=True, type='CellNorm'),
    'optim_wrapper.paramwise_cfg': dict(custom_keys={'backbone': dict(lr_mult=0.5)}),
    'default_hooks.channels_last': dict(type='ChannelsLastHook'),
}
