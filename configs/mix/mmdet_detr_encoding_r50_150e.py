# Encoding only: mmdet's DETR, the cells in our code with the temperature of DAB-DETR.
_base_ = ['mmdet::detr/detr_r50_8xb2-150e_coco.py', '../_base_/parts/dab_detr.py']

model = dict(type='mmdet_dab.MixedDETR', positional_encoding={{_base_.dab_encoding}})
