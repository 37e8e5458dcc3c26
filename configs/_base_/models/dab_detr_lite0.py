_base_ = 'dn_detr_small.py'

model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3),
    backbone=dict(
        _delete_=True,
        type='mmdet_dab.EfficientNetLite',
        arch=0,
        out_indices=(2,),
        init_cfg=dict(type='mmdet_dab.ImageNetWheel'),
    ),
    neck=dict(in_channels=[112]),
)
