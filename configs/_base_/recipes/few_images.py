# A training run on some hundred images: what the configs of `mmdet-dab new-data` and of
# ../../custom/bccd_r18_c4_55e.py share. They add the dataset, the scale and the length.
_base_ = ['../datasets/coco_detection.py', '../schedules/schedule_50e.py', '../default_runtime.py']

# Steps of the pipelines; a config sets its own Resize between them.
load_image = dict(type='LoadImageFromFile')
load_boxes = dict(type='LoadAnnotations', with_bbox=True)
# Half of the images are parts of one. They are squeezed to the same size, not padded to it: batch
# norm, which learns from scratch, would take padding for image.
crop_half = dict(
    type='RandomApply',
    transforms=[dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.7, 0.7))],
    prob=0.5,
)
flip = dict(type='RandomFlip', prob=0.5)
# What is left of objects at the border, if next to nothing, is left out.
drop_slivers = dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False)
pack = dict(type='PackDetInputs')
pack_test = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))

# Configs name whole paths, since images and annotations may lie in different places.
train_dataloader = dict(dataset=dict(data_root='', filter_cfg=dict(min_size=0)))
val_dataloader = dict(dataset=dict(data_root=''))
test_dataloader = val_dataloader

optim_wrapper = dict(
    # The backbone knows nothing of ImageNet, and learns as fast as the rest.
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),
)
default_hooks = dict(
    # Convolutions are faster on a CPU, depthwise ones by half.
    channels_last=dict(type='ChannelsLastHook'),
    visualization=dict(interval=20),
    # Validated and kept is an average of the weights over the last steps, which is better than the
    # last ones; the first 200 hardly count. A config sets `momentum`, the weight of the newest.
    ema=dict(type='EMAHook', ema_type='ExpMomentumEMA', gamma=200),
)

# What models on few images share, whatever their backbone; recipes merge it into theirs.
few_images_model = dict(
    query_generator=dict(
        generator=dict(
            # Anchors all over the image, of the sizes of the training boxes, instead of N(0, 1)
            # before the sigmoid; the boxes are read when the training run starts.
            initial_anchors=dict(type='BoxAnchors'),
        ),
    ),
    decoder=dict(
        # Attention looks around the anchor from the first step, at half the size of an object.
        positional_query=dict(position_scale=dict(init_cfg=dict(type='UnitPositionScale'))),
        layer=dict(cross_attention=dict(init_cfg=dict(type='DirectedAttention', radius=0.1, gain=3.0))),
    ),
    # After a short training run some objects are still found twice.
    bbox_head=dict(selection=dict(duplicates=dict(type='MatrixNMS'))),
)
