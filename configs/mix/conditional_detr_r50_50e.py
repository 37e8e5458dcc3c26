# Conditional DETR, ResNet-50, 50 epochs on COCO (that paper: AP 40.9).
_base_ = [
    '../_base_/models/conditional_detr_r50.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_50e.py',
    '../_base_/default_runtime.py',
]
