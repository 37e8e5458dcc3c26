# DAB-Deformable-DETR: the decoder is deformable, too. Its queries look at points around their anchors, so that
# neither the product of sine codes nor the modulation by w and h is needed.
_base_ = 'dab_detr_deformable_encoder_r50.py'

model = dict(
    # The encoding of Deformable DETR, with which the released weights were trained.
    positional_encoder=dict(temperature=10000, offset=0.5),
    query_generator=dict(learned_content=True),
    decoder=dict(
        final_norm=False,
        look_forward_twice=False,
        positional_query=dict(_delete_=True, type='mmdet_dab.DeformablePositionalQuery', embed_dims=256),
        layer=dict(
            self_attention=dict(type='mmdet_dab.QuerySelfAttention'),
            cross_attention=dict(
                _delete_=True,
                type='mmdet_dab.DeformableCrossAttention',
                embed_dims=256,
                num_heads=8,
                num_levels=4,
                num_points=4,
            ),
            feed_forward=dict(act_cfg=dict(type='ReLU')),
        ),
        first_layer=None,
    ),
    # Branches per layer, and boxes that start smaller than N(0, 1) before the sigmoid makes them.
    bbox_head=dict(box_branch_per_layer=6, class_branch_per_layer=6, initial_size_bias=-2.0),
)
