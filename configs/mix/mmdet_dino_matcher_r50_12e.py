# mmdet's DINO with our matcher. That is all that a config can put into its detector: its
# `_init_layers` names the classes of encoding, encoder, decoder and denoising, so that of the
# encoding the temperature alone can be set (model.positional_encoding.temperature, 20 in the base),
# and only for cells: its decoder encodes boxes with 10000. Our own assembly in its place:
# mmdet_dino_parts_r50_12e.py.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', '../_base_/parts/dab_detr.py']
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(train_cfg=dict(assigner={{_base_.replace_assigner}}))
