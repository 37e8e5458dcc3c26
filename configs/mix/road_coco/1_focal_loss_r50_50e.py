# + focal loss: a logit per class instead of a softmax over classes and background, in loss and matching.
_base_ = '0_detr_r50_50e.py'
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='mmdet_dab.SigmoidFocalLoss', alpha=0.25, gamma=2.0, loss_weight=1.0),
        background_weight=None,
        matcher=dict(
            costs=[
                dict(type='mmdet_dab.FocalCost', weight=2.0),
                dict(type='mmdet_dab.BoxL1Cost', weight=5.0),
                dict(type='mmdet_dab.GIoUCost', weight=2.0),
            ],
        ),
    ),
)
