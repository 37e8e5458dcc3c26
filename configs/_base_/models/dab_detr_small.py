# A DAB-DETR that trains from random initialisation on a CPU: half a ResNet-18 (32 to 128 channels)
# up to stride 16, width 128, 1 encoder and 3 decoder layers. It has no released weights to stay
# compatible with, so cells and boxes share the paper's temperature of 20.
_base_ = 'dab_detr_r50.py'

model = dict(
    embed_dims=128,
    hidden_dims=512,
    backbone=dict(
        depth=18,
        base_channels=32,
        stem_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        # From scratch nothing is frozen, and batch norm has to learn its statistics.
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[128], norm_cfg=dict(type='GN', num_groups=32)),
    positional_encoder=dict(box_temperature=None),
    encoder=dict(num_layers=1),
    decoder=dict(num_layers=3),
)
