# Parts of DAB-DETR for other configs: name this file in _base_ beside a config of mmdet, and take what you need by
# {{_base_.dab_decoder}}. `_delete_` is in those that stand where mmdet's config has a part already.
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

# One code for cells and anchors; stands at `positional_encoding`.
dab_encoding = dict(_delete_=True, type='mmdet_dab.SinePositionalEncoder', embed_dims=256, temperature=20)

# Queries are anchor boxes.
dab_queries = dict(
    type='mmdet_dab.AnchorQueryGenerator',
    num_queries=300,
    embed_dims=256,
    anchor_dims=4,
    num_patterns=0,
    fixed_centers=False,
    initial_anchors=dict(type='mmdet_dab.NormalAnchors'),
)

# Layers with conditional attention and w, h modulation; anchors move layer by layer.
dab_decoder = dict(
    _delete_=True,
    type='mmdet_dab.AnchorDecoder',
    num_layers=6,
    embed_dims=256,
    positional_query=dict(
        type='mmdet_dab.AnchorPositionalQuery',
        embed_dims=256,
        anchor_dims=4,
        position_scale='element',
        modulate_size=True,
    ),
    layer=dict(
        type='mmdet_dab.DecoderLayer',
        embed_dims=256,
        self_attention=dict(type='mmdet_dab.ConditionalSelfAttention', embed_dims=256, num_heads=8),
        cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention', embed_dims=256, num_heads=8),
        feed_forward=dict(type='mmdet_dab.FeedForward', embed_dims=256, hidden_dims=2048, act_cfg=dict(type='PReLU')),
    ),
    first_layer=dict(cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention', position_in_content=True)),
    anchor_update=dict(type='mmdet_dab.AnchorUpdate'),
)

# The same for several feature levels (DAB-Deformable-DETR): attention to a few points around the anchor.
dab_deformable_queries = dict(
    type='mmdet_dab.AnchorQueryGenerator',
    num_queries=300,
    embed_dims=256,
    anchor_dims=4,
    num_patterns=0,
    learned_content=True,
    fixed_centers=False,
    initial_anchors=dict(type='mmdet_dab.NormalAnchors'),
)
dab_deformable_decoder = dict(
    _delete_=True,
    type='mmdet_dab.AnchorDecoder',
    num_layers=6,
    embed_dims=256,
    final_norm=False,
    look_forward_twice=False,
    positional_query=dict(type='mmdet_dab.DeformablePositionalQuery', embed_dims=256),
    layer=dict(
        type='mmdet_dab.DecoderLayer',
        embed_dims=256,
        self_attention=dict(type='mmdet_dab.QuerySelfAttention', embed_dims=256, num_heads=8),
        cross_attention=dict(
            type='mmdet_dab.DeformableCrossAttention', embed_dims=256, num_heads=8, num_levels=4, num_points=4
        ),
        feed_forward=dict(type='mmdet_dab.FeedForward', embed_dims=256, hidden_dims=2048, act_cfg=dict(type='ReLU')),
    ),
    first_layer=None,
    anchor_update=dict(type='mmdet_dab.AnchorUpdate'),
)
# … with boxes measured from the anchor with gradient, so that their loss also trains the update before (as in DINO).
look_twice_decoder = dict(dab_deformable_decoder, look_forward_twice=True)

# All layers and pictures in one matching; at `bbox_head.matcher`, or in an assigner at `train_cfg.assigner`.
dab_matcher = dict(
    type='mmdet_dab.HungarianMatcher',
    costs=[
        dict(type='mmdet_dab.FocalCost', weight=2.0),
        dict(type='mmdet_dab.BoxL1Cost', weight=5.0),
        dict(type='mmdet_dab.GIoUCost', weight=2.0),
    ],
)
