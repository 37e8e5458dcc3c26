# DC5: the last stage dilated instead of strided, features at stride 16 (paper, table 2, DC5-R50: AP
# 44.5).
_base_ = 'dab_detr_r50_50e.py'
model = dict(
    backbone=dict(type='DilatedResNet', strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
)
