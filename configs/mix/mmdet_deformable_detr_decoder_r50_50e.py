# The whole decoder, over four feature levels: mmdet's Deformable DETR with the anchors, decoder and
# matcher of DAB-Deformable-DETR. Encoder, head and losses stay mmdet's; with_box_refine gives every
# layer its box branch.
_base_ = ['mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', '../_base_/parts/dab_detr.py']
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(
    type='MixedDeformableDETR',
    with_box_refine=True,
    query_generator={{_base_.deformable_queries}},
    decoder={{_base_.replace_deformable_decoder}},
    train_cfg=dict(assigner={{_base_.replace_assigner}}),
)
