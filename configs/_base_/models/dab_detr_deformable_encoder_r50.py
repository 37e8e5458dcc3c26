# DAB-DETR over four feature levels, which deformable attention makes affordable in the encoder. The
# decoder is that of DAB-DETR and attends to the cells of all levels.
_base_ = 'dab_detr_r50.py'

model = dict(
    num_levels=4,
    backbone=dict(out_indices=(1, 2, 3)),
    # Strides 8, 16, 32, and 64 by a convolution on the last map (Deformable DETR, section A.2).
    neck=dict(in_channels=[512, 1024, 2048], bias=True, norm_cfg=dict(type='GN', num_groups=32)),
    # No released weights ask for two temperatures here: the paper's one for cells and boxes.
    positional_encoder=dict(box_temperature=None),
    encoder={{_base_.replace_deformable_encoder}},
)
