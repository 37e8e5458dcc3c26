# DN-DETR on your own data, by the example of the blood cells of BCCD, from random initialisation.
_base_ = '../custom/bccd_r18_c4_55e.py'

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
