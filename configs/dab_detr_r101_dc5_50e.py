# ResNet-101 with a dilated last stage (paper, table 2, DC5-R101: AP 45.8).
_base_ = 'dab_detr_r101_50e.py'
model = dict(
    backbone=dict(type='DilatedResNet', strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
)
