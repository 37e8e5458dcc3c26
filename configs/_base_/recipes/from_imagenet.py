# The small model with a backbone from ImageNet, on some hundred images: what from_scratch.py is,
# and faster by far (docs/own_data.md). A config sets `radius`, the dataset, the scale and the
# length.
_base_ = ['../models/dab_detr_lite0.py', 'few_images.py']

model = {{_base_.few_images_model}}
# What the backbone knows is worth keeping: it learns half as fast as the rest.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.5)}))
