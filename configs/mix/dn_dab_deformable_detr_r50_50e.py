# DN-DAB-Deformable-DETR (arXiv:2203.01305, table 1: AP 48.6 in 50 epochs): DAB-Deformable-DETR
# whose decoder also learns to put noised ground truth right. Not measured here.
_base_ = '../dab_deformable_detr_r50_50e.py'

model = dict(
    query_generator=dict(_delete_=True, type='DenoisingQueryGenerator', generator={{_base_.model.query_generator}}),
)
