# Group DETR (arXiv:2207.13085) on DAB-DETR, ResNet-50, 12 epochs on COCO: in training 11 groups of
# 300 queries, each matched by itself (that paper: AP 39.1, against 35.2 without). At test time it
# is DAB-DETR. Not measured here.
_base_ = '../dab_detr_r50_12e.py'

model = dict(
    query_generator=dict(_delete_=True, type='GroupQueryGenerator', generator={{_base_.model.query_generator}}),
)
