# DAB-DETR that learns every object twice and takes duplicates out of its predictions, after DE-DETR
# (arXiv:2203.09507): for few images. Not measured on COCO.
_base_ = '../dab_detr_r50_50e.py'

model = dict(
    bbox_head=dict(
        matcher=dict(_delete_=True, type='RepeatedMatcher', matcher={{_base_.model.bbox_head.matcher}}),
        selection=dict(duplicates=dict(type='MatrixNMS')),
    ),
)
