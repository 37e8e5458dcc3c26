# DN-DETR (arXiv:2203.01305), ResNet-50, 50 epochs on COCO: DAB-DETR whose decoder also learns to
# put noised ground truth right (that paper: AP 44.1 with 5 groups, 43.4 with 1, 42.2 without; box
# noise 0.4, label noise 0.2). At test time it is DAB-DETR.
_base_ = '../dab_detr_r50_50e.py'

model = dict(
    query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator={{_base_.model.query_generator}}),
)
