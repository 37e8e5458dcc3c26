# DAB-DETR, said once: one variable for every part, with every idea of the paper. Configs name this
# file in _base_ and take what they need by {{_base_.dab_decoder}}. Width, heads, classes and number
# of layers come from the detector, which hands them down; all else is the default of the class.

# Cells and anchors in the same kind of code, temperature 20 (section 4.4).
dab_encoding = dict(type='SinePositionalEncoder')
# The released weights were trained with 10000 for boxes, and need it (the authors' issue 21).
released_encoding = dict(dab_encoding, box_temperature=10000)

dab_tokenizer = dict(type='ImageTokenizer')

dab_encoder = dict(
    type='TransformerEncoder',
    position_scale=dict(type='ContentScale'),
    layer=dict(
        type='EncoderLayer',
        self_attention=dict(type='CellSelfAttention'),
        feed_forward=dict(type='FeedForward'),
    ),
)

# Queries are 4-D anchor boxes (section 3).
dab_queries = dict(type='AnchorQueryGenerator', initial_anchors=dict(type='NormalAnchors'))

dab_decoder = dict(
    type='TransformerDecoder',
    # Anchors and content make the positional queries (eq. 2, 4); w and h modulate them (eq. 6).
    positional_query=dict(
        type='AnchorPositionalQuery',
        position_scale=dict(type='ContentScale'),
        size_modulation=dict(type='SizeModulation'),
    ),
    # Content and position are separate in both attentions (eq. 3, 4).
    layer=dict(
        type='DecoderLayer',
        self_attention=dict(type='ConditionalSelfAttention'),
        cross_attention=dict(type='ConditionalCrossAttention'),
        feed_forward=dict(type='FeedForward'),
    ),
    # Content says nothing yet in the first layer: there position goes into content, too.
    first_layer=dict(cross_attention=dict(type='ConditionalCrossAttention', position_in_content=True)),
    # Anchors move layer by layer.
    anchor_update=dict(type='AnchorUpdate'),
)

# All layers and images in one matching; at `bbox_head.matcher`, or in an assigner of mmdet.
dab_matcher = dict(
    type='HungarianMatcher',
    costs=[dict(type='FocalCost'), dict(type='BoxL1Cost'), dict(type='GIoUCost')],  # weights 2, 5, 2
)

dab_head = dict(
    type='SetPredictionHead',
    loss_cls=dict(type='SigmoidFocalLoss'),
    loss_bbox=dict(type='L1Loss', loss_weight=5.0),
    loss_iou=dict(type='GIoULoss', loss_weight=2.0),
    matcher=dab_matcher,
    class_scores=dict(type='SigmoidScores'),
    selection=dict(type='BestPredictions'),
    init_cfg=dict(type='BoxesAtReferences'),
)

# --- DAB-Deformable-DETR: several feature levels, attention to a few points around the anchor ---
# The encoding of Deformable DETR, with which the released weights were trained.
deformable_encoding = dict(dab_encoding, temperature=10000, offset=0.5)

deformable_encoder = dict(
    type='TransformerEncoder',
    layer=dict(
        type='EncoderLayer',
        self_attention=dict(type='DeformableCellAttention'),
        feed_forward=dict(type='FeedForward', act_cfg=dict(type='ReLU')),
    ),
)

# Every anchor has a content of its own.
deformable_queries = dict(dab_queries, learned_content=True)

deformable_decoder = dict(
    type='TransformerDecoder',
    final_norm=False,
    # Neither the product of sine codes nor the modulation by w and h is needed.
    positional_query=dict(type='DeformablePositionalQuery', position_scale=dict(type='ContentScale')),
    layer=dict(
        type='DecoderLayer',
        self_attention=dict(type='QuerySelfAttention'),
        cross_attention=dict(type='DeformableCrossAttention'),
        feed_forward=dict(type='FeedForward', act_cfg=dict(type='ReLU')),
    ),
    anchor_update=dict(type='DetachedAnchorUpdate'),
)

# Branches for every layer, and boxes that start smaller than N(0, 1) before the sigmoid makes them.
deformable_head = dict(dab_head, per_layer=('class', 'box'), init_cfg=dict(type='BoxesAtReferences', size_bias=-2.0))

# --- The same where another part stands in the place already: _delete_ takes it out ---
replace_encoding = dict(dab_encoding, _delete_=True)
replace_decoder = dict(dab_decoder, _delete_=True)
replace_deformable_encoder = dict(deformable_encoder, _delete_=True)
replace_deformable_decoder = dict(deformable_decoder, _delete_=True)
# … with boxes measured from the anchor with gradient, as in DINO.
replace_look_twice_decoder = dict(replace_deformable_decoder, anchor_update=dict(type='AnchorUpdate'))
replace_assigner = dict(_delete_=True, type='MatcherAssigner', matcher=dab_matcher)
