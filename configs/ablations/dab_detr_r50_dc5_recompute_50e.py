# DC5 in less memory: backbone and encoder keep what goes into a block or layer, and compute the
# rest once more in the backward pass. The same training, slower (docs/performance.md).
_base_ = '../dab_detr_r50_dc5_50e.py'
model = dict(backbone=dict(with_cp=True), encoder=dict(recompute=True))
