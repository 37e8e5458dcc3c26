# The decoder alone: mmdet's DAB-DETR with ours. It encodes anchors as the encoder encodes cells,
# with a temperature of 20 (section 4.4); mmdet's decoder takes 10000, whatever the config says.
# Queries, encoder, head, losses and matching stay mmdet's.
_base_ = ['mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py', '../_base_/parts/dab_detr.py']
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(type='MixedDABDETR', decoder={{_base_.replace_decoder}})
