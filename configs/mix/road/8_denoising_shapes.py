# + denoising: in training, further queries that start from noised objects. This is DN-DETR.
_base_ = '7_temperature_shapes.py'
model = dict(
    query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator={{_base_.model.query_generator}}),
)
