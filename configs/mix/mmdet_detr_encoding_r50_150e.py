# Encoding only: mmdet's DETR, the cells in our code with the temperature of DAB-DETR.
_base_ = ['mmdet::detr/detr_r50_8xb2-150e_coco.py', '../_base_/parts/dab_detr.py']
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(type='MixedDETR', positional_encoding={{_base_.replace_encoding}})
