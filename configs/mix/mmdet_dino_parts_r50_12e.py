# In the place of mmdet's DINO, with its data, backbone, neck, encoder, losses and schedule: our encoding with one
# temperature of 20 for cells and boxes, our matcher, anchors with denoising, DAB-Deformable-DETR's decoder, and boxes
# that look forward twice. Of DINO's ideas our parts lack two: queries selected from the encoder's output (anchors are
# learned instead, which takes as_two_stage=False), and denoising with negatives (dn_cfg).
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', '../_base_/parts/dab_detr.py']

model = dict(
    type='mmdet_dab.MixedDeformableDETR',
    as_two_stage=False,
    dn_cfg=None,
    positional_encoding={{_base_.dab_encoding}},
    query_generator=dict(
        type='mmdet_dab.DenoisingQueryGenerator',
        generator={{_base_.dab_deformable_queries}},
        num_classes={{_base_.model.bbox_head.num_classes}},
        embed_dims={{_base_.dab_deformable_queries.embed_dims}},
        num_groups=5,
    ),
    decoder={{_base_.look_twice_decoder}},
    bbox_head=dict(
        _delete_=True,
        type='mmdet_dab.SetPredictionHead',
        num_classes={{_base_.model.bbox_head.num_classes}},
        loss_cls={{_base_.model.bbox_head.loss_cls}},
        loss_bbox={{_base_.model.bbox_head.loss_bbox}},
        loss_iou={{_base_.model.bbox_head.loss_iou}},
        matcher={{_base_.dab_matcher}},
        box_branch_per_layer=6,
        class_branch_per_layer=6,
        initial_size_bias=-2.0,
    ),
)
