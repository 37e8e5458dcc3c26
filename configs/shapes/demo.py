# What `mmdet-dab demo` trains: DN-DETR on drawn shapes, from random initialisation.
_base_ = '../mix/dn_detr_shapes_5min.py'

# After a short training run some objects are still found twice.
model = dict(bbox_head=dict(selection=dict(duplicates=dict(type='MatrixNMS'))))

# Eight points for the curve.
train_cfg = dict(val_interval=250)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
# Validated and kept is an average of the weights over the last 200 steps.
default_hooks = dict(ema=dict(type='EMAHook', ema_type='ExpMomentumEMA', gamma=200, momentum=0.005))
