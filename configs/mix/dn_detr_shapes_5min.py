# DN-DETR on drawn shapes: the embedded default with denoising, from random initialisation.
_base_ = '../shapes/dab_detr_shapes_5min.py'

model = dict(
    query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator={{_base_.model.query_generator}}),
)
