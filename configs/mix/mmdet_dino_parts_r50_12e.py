# In the place of mmdet's DINO, with its data, backbone, neck, encoder, losses and schedule: our
# encoding with one temperature of 20 for cells and boxes, our matcher, anchors with denoising,
# DAB-Deformable-DETR's decoder, and boxes that look forward twice. Of DINO's ideas our parts lack
# two: queries selected from the encoder's output (anchors are learned instead, which takes
# as_two_stage=False), and denoising with negatives (dn_cfg).
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', '../_base_/parts/dab_detr.py']
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(
    type='MixedDeformableDETR',
    as_two_stage=False,
    dn_cfg=None,
    positional_encoding={{_base_.replace_encoding}},
    query_generator=dict(type='DenoisingQueryGenerator', generator={{_base_.deformable_queries}}),
    decoder={{_base_.replace_look_twice_decoder}},
    bbox_head=dict(
        _delete_=True,
        type='SetPredictionHead',
        num_classes={{_base_.model.bbox_head.num_classes}},
        loss_cls={{_base_.model.bbox_head.loss_cls}},
        loss_bbox={{_base_.model.bbox_head.loss_bbox}},
        loss_iou={{_base_.model.bbox_head.loss_iou}},
        matcher={{_base_.dab_matcher}},
        class_scores=dict(type='SigmoidScores'),
        selection=dict(type='BestPredictions'),
        per_layer=('class', 'box'),
        init_cfg=dict(type='BoxesAtReferences', size_bias=-2.0),
    ),
)
