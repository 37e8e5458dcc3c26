# The plain model with a 12-epoch schedule (no figure in the paper).
_base_ = [
    '_base_/models/dab_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_12e.py',
    '_base_/default_runtime.py',
]
