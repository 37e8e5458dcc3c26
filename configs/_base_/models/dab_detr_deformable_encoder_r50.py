# DAB-DETR over four feature levels, which deformable attention makes affordable in the encoder. The decoder is that
# of DAB-DETR and attends to the cells of all levels.
_base_ = 'dab_detr_r50.py'

model = dict(
    backbone=dict(out_indices=(1, 2, 3)),
    # Strides 8, 16, 32, and 64 by a convolution on the last feature map (Deformable DETR, section A.2).
    neck=dict(
        in_channels=[512, 1024, 2048], num_outs=4, bias=True, norm_cfg=dict(_delete_=True, type='GN', num_groups=32)
    ),
    # No released weights ask for two temperatures here: the paper's one for cells and boxes.
    positional_encoder=dict(box_temperature=None),
    tokenizer=dict(num_levels=4),
    encoder=dict(
        position_scale=False,
        layer=dict(
            self_attention=dict(
                _delete_=True,
                type='mmdet_dab.DeformableCellAttention',
                embed_dims=256,
                num_heads=8,
                num_levels=4,
                num_points=4,
            ),
            feed_forward=dict(act_cfg=dict(type='ReLU')),
        ),
    ),
)
