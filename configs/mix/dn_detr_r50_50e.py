# DN-DETR (arXiv:2203.01305), ResNet-50, 50 epochs on COCO: DAB-DETR whose decoder also learns to put noised truth
# right (that paper: AP 44.1 with 5 groups, 43.4 with 1, 42.2 without). At test time it is DAB-DETR.
_base_ = '../dab_detr_r50_50e.py'

model = dict(
    query_generator=dict(
        _delete_=True,
        type='mmdet_dab.DenoisingQueryGenerator',
        generator={{_base_.model.query_generator}},
        num_classes={{_base_.model.bbox_head.num_classes}},
        embed_dims={{_base_.model.query_generator.embed_dims}},
        num_groups=5,
        center_noise=0.4,
        size_noise=0.4,
        label_noise=0.2,
    ),
)
