# ResNet-101 (paper, table 2, R101: AP 43.5).
_base_ = 'dab_detr_r50_50e.py'
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth')),
)
