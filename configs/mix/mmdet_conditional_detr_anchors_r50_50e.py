# Queries, decoder layers and anchor update: mmdet's Conditional DETR whose points become boxes that
# move. Backbone, neck, encoder, losses, matching and test settings stay mmdet's; its DABDETRHead
# measures boxes from anchors.
_base_ = ['mmdet::conditional_detr/conditional-detr_r50_8xb2-50e_coco.py', '../_base_/parts/dab_detr.py']
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(
    type='MixedConditionalDETR',
    positional_encoding={{_base_.replace_encoding}},
    query_generator={{_base_.dab_queries}},
    decoder={{_base_.replace_decoder}},
    bbox_head=dict(type='DABDETRHead'),
)
