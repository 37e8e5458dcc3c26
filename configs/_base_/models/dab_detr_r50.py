# DAB-DETR with ResNet-50: every part, and every fact of the paper, once.
model = dict(
    type='mmdet_dab.ComposedDETR',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(3,),
        frozen_stages=1,
        # Batch norm of ImageNet, which keeps nothing for the backward pass; to train it: type='BN', requires_grad=True.
        norm_cfg=dict(type='mmdet_dab.FrozenBatchNorm', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth'),
    ),
    neck=dict(
        type='ChannelMapper',
        in_channels=[2048],
        kernel_size=1,
        out_channels=256,
        act_cfg=None,
        norm_cfg=None,
        num_outs=1,
    ),
    # Cells and anchors in the same kind of code (paper, section 4). The paper's temperature is 20
    # for both; the released weights were trained with 10000 for boxes, and need it.
    positional_encoder=dict(
        type='mmdet_dab.SinePositionalEncoder', embed_dims=256, temperature=20, box_temperature=10000
    ),
    tokenizer=dict(type='mmdet_dab.ImageTokenizer', embed_dims=256),
    encoder=dict(
        type='mmdet_dab.TransformerEncoder',
        num_layers=6,
        embed_dims=256,
        position_scale=True,
        layer=dict(
            type='mmdet_dab.EncoderLayer',
            embed_dims=256,
            self_attention=dict(type='mmdet_dab.CellSelfAttention', embed_dims=256, num_heads=8),
            feed_forward=dict(
                type='mmdet_dab.FeedForward', embed_dims=256, hidden_dims=2048, act_cfg=dict(type='PReLU')
            ),
        ),
    ),
    # Queries are 4-D anchor boxes (section 3).
    query_generator=dict(
        type='mmdet_dab.AnchorQueryGenerator',
        num_queries=300,
        embed_dims=256,
        anchor_dims=4,
        num_patterns=0,
        fixed_centers=False,
        initial_anchors=dict(type='mmdet_dab.NormalAnchors'),
    ),
    decoder=dict(
        type='mmdet_dab.AnchorDecoder',
        num_layers=6,
        embed_dims=256,
        # Anchors and content -> positional queries; w and h modulate (eq. 2, 4, 6).
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
            feed_forward=dict(
                type='mmdet_dab.FeedForward', embed_dims=256, hidden_dims=2048, act_cfg=dict(type='PReLU')
            ),
        ),
        # Content says nothing yet in the first layer: there position goes into content, too.
        first_layer=dict(cross_attention=dict(type='mmdet_dab.ConditionalCrossAttention', position_in_content=True)),
        # Anchors move layer by layer.
        anchor_update=dict(type='mmdet_dab.AnchorUpdate'),
    ),
    bbox_head=dict(
        type='mmdet_dab.SetPredictionHead',
        num_classes=80,
        embed_dims=256,
        loss_cls=dict(type='mmdet_dab.SigmoidFocalLoss', alpha=0.25, gamma=2.0, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        matcher=dict(
            type='mmdet_dab.HungarianMatcher',
            costs=[
                dict(type='mmdet_dab.FocalCost', weight=2.0),
                dict(type='mmdet_dab.BoxL1Cost', weight=5.0),
                dict(type='mmdet_dab.GIoUCost', weight=2.0),
            ],
        ),
        max_per_img=300,
    ),
)
