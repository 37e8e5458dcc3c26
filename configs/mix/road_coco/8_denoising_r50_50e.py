# + denoising: in training, further queries that start from noised objects. This is DN-DETR.
_base_ = '7_temperature_r50_50e.py'
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
