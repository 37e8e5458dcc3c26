# Swin-T, pretrained on ImageNet-1k (detrex: AP 45.2).
_base_ = 'dab_detr_r50_50e.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',  # of the size T, if nothing else is said
        out_indices=(3,),
        convert_weights=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_tiny_patch4_window7_224.pth',
        ),
    ),
    neck=dict(in_channels=[768]),
)
