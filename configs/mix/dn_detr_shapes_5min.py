# DN-DETR on drawn shapes: the embedded default with denoising, from random initialisation.
_base_ = '../shapes/dab_detr_shapes_5min.py'

model = dict(
    query_generator=dict(
        _delete_=True,
        type='mmdet_dab.DenoisingQueryGenerator',
        generator={{_base_.model.query_generator}},
        num_classes={{_base_.model.bbox_head.num_classes}},
        embed_dims={{_base_.model.query_generator.embed_dims}},
        num_groups=5,
    ),
)
