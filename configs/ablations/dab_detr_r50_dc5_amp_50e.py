# DC5 in less memory: automatic mixed precision, for GPUs. Positions and losses stay float32.
_base_ = '../dab_detr_r50_dc5_50e.py'
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
