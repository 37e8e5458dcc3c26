# DN-DAB-Deformable-DETR whose anchors are the boxes of the cells that look most like an object
# (Deformable DETR's two stages, arXiv:2010.04159), instead of learned ones. Not measured on COCO.
_base_ = '../dab_deformable_detr_r50_50e.py'

model = dict(
    query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator=dict(type='EncoderQueryGenerator')),
)
