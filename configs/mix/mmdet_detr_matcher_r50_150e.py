# Matcher only: mmdet's DETR, its objects matched by our matcher and costs. DETR has a softmax over
# classes.
_base_ = 'mmdet::detr/detr_r50_8xb2-150e_coco.py'
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='MatcherAssigner',
            matcher=dict(
                type='HungarianMatcher',
                # mmdet has a ClassificationCost as well: the prefix says which.
                costs=[dict(type='mmdet_dab.ClassificationCost'), dict(type='BoxL1Cost'), dict(type='GIoUCost')],
            ),
        ),
    ),
)
