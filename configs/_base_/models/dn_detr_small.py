# The small model, trained with denoising: further queries that start from noised objects, in training only. A step
# takes a third more time, and leads further (docs/own_data.md).
_base_ = 'dab_detr_small.py'

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
