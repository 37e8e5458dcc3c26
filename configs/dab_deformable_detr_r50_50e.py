# DAB-Deformable-DETR, ResNet-50, 50 epochs on COCO (paper, table 5: AP 46.8), by the recipe of
# DAB-DETR: unlike Deformable DETR's, one learning rate for all but the backbone.
_base_ = [
    '_base_/models/dab_deformable_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
