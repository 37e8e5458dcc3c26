# Matcher only: mmdet's DETR, its objects matched by our matcher and costs. DETR has a softmax over classes.
_base_ = 'mmdet::detr/detr_r50_8xb2-150e_coco.py'
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='mmdet_dab.MatcherAssigner',
            matcher=dict(
                type='mmdet_dab.HungarianMatcher',
                costs=[
                    dict(type='mmdet_dab.ClassificationCost', weight=1.0),
                    dict(type='mmdet_dab.BoxL1Cost', weight=5.0),
                    dict(type='mmdet_dab.GIoUCost', weight=2.0),
                ],
            ),
        ),
    ),
)
