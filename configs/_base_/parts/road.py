# The road from DETR to DAB-DETR: one variable for every station, what it adds to the one before.
# ../../mix/road/ walks it on drawn shapes, ../../mix/road_coco/ on COCO.

# 0. DETR, but with the encoder, the widths and the recipe of DAB-DETR, and without dropout.
road_detr = dict(
    positional_encoder=dict(temperature=10000, box_temperature=None),
    query_generator=dict(_delete_=True, type='LearnedQueryGenerator'),
    decoder=dict(
        positional_query=dict(_delete_=True, type='LearnedPositionalQuery'),
        layer=dict(
            self_attention=dict(type='QuerySelfAttention'),
            cross_attention=dict(_delete_=True, type='QueryCrossAttention'),
        ),
        first_layer=None,
        anchor_update=None,
    ),
    bbox_head=dict(
        loss_cls=dict(type='CrossEntropyLoss'),
        class_scores=dict(type='SoftmaxScores'),
        matcher=dict(costs=[dict(type='mmdet_dab.ClassificationCost'), dict(type='BoxL1Cost'), dict(type='GIoUCost')]),
        init_cfg=None,
    ),
)
# 1. + focal loss: a logit per class instead of a softmax over classes and background, in loss and
# matching.
road_focal_loss = dict(
    bbox_head=dict(
        loss_cls=dict(type='SigmoidFocalLoss'),
        class_scores=dict(_delete_=True, type='SigmoidScores'),
        matcher=dict(costs=[dict(type='FocalCost'), dict(type='BoxL1Cost'), dict(type='GIoUCost')]),
    ),
)
# 2. + conditional spatial query: every query predicts a point, and the code of the point times
# MLP(content) is set beside content in cross-attention; boxes are measured from the point. This is
# Conditional DETR.
road_conditional_query = dict(
    query_generator=dict(type='PredictedPointQueryGenerator'),
    decoder=dict(
        positional_query=dict(type='ConditionalPositionalQuery', position_scale=dict(type='ContentScale')),
        layer=dict(
            self_attention=dict(type='ConditionalSelfAttention'),
            cross_attention=dict(type='ConditionalCrossAttention'),
        ),
        first_layer=dict(
            _delete_=True, cross_attention=dict(type='ConditionalCrossAttention', position_in_content=True)
        ),
    ),
    bbox_head=dict(init_cfg=dict(_delete_=True, type='BoxesAtReferences')),
)
# 3. + 2-D anchors: the point itself is learned, and the positional query is MLP(PE(point)).
road_points = dict(
    anchor_dims=2,
    query_generator=dict(type='AnchorQueryGenerator', initial_anchors=dict(type='NormalAnchors')),
    decoder=dict(positional_query=dict(type='AnchorPositionalQuery')),
)
# 4. + 4-D anchors: boxes instead of points; w and h are part of the positional query, and boxes are
# measured from them.
road_boxes = dict(anchor_dims=4)
# 5. + update: anchors move after every layer.
road_update = dict(decoder=dict(anchor_update=dict(_delete_=True, type='AnchorUpdate')))
# 6. + modulation: w and h of the anchor widen or narrow its attention.
road_modulation = dict(decoder=dict(positional_query=dict(size_modulation=dict(type='SizeModulation'))))
# 7. + temperature: 20 instead of 10000, in the code of cells and of anchors. This is DAB-DETR.
road_temperature = dict(positional_encoder=dict(temperature=20))
