# DAB-DETR with a deformable encoder over four feature levels, ResNet-50, 50 epochs on COCO.
_base_ = [
    '_base_/models/dab_detr_deformable_encoder_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
