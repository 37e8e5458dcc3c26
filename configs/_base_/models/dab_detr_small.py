# A DAB-DETR that trains from random initialisation on a CPU: half a ResNet-18 (32 to 128 channels) up
# to stride 16, width 128, 1 encoder and 3 decoder layers. It has no released weights to stay compatible
# with, so cells and boxes share the paper's temperature of 20.
_base_ = 'dab_detr_r50.py'

model = dict(
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
    neck=dict(in_channels=[128], out_channels=128, norm_cfg=dict(_delete_=True, type='GN', num_groups=32)),
    positional_encoder=dict(embed_dims=128, box_temperature=None),
    tokenizer=dict(embed_dims=128),
    encoder=dict(
        num_layers=1,
        embed_dims=128,
        layer=dict(
            embed_dims=128, self_attention=dict(embed_dims=128), feed_forward=dict(embed_dims=128, hidden_dims=512)
        ),
    ),
    query_generator=dict(embed_dims=128),
    decoder=dict(
        num_layers=3,
        embed_dims=128,
        positional_query=dict(embed_dims=128),
        layer=dict(
            embed_dims=128,
            self_attention=dict(embed_dims=128),
            cross_attention=dict(embed_dims=128),
            feed_forward=dict(embed_dims=128, hidden_dims=512),
        ),
    ),
    bbox_head=dict(embed_dims=128),
)
