# The small model, trained with denoising: further queries that start from noised objects, in
# training only. A step takes a third more time, and leads further.
_base_ = 'dab_detr_small.py'

model = dict(
    query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator={{_base_.model.query_generator}}),
)
