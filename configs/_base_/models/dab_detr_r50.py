# DAB-DETR with ResNet-50, from the parts of ../parts/dab_detr.py.
_base_ = '../parts/dab_detr.py'

model = dict(
    type='ComposedDETR',
    num_classes=80,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='FoldingResNet',
        depth=50,
        out_indices=(3,),
        frozen_stages=1,
        # Batch norm of ImageNet, which keeps nothing for the backward pass. To train it:
        # type='BN', requires_grad=True.
        norm_cfg=dict(type='FrozenBatchNorm', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth'),
    ),
    neck=dict(type='ChannelMapper', in_channels=[2048], kernel_size=1, act_cfg=None),
    positional_encoder={{_base_.released_encoding}},
    tokenizer={{_base_.dab_tokenizer}},
    encoder={{_base_.dab_encoder}},
    query_generator={{_base_.dab_queries}},
    decoder={{_base_.dab_decoder}},
    bbox_head={{_base_.dab_head}},
)
