# Where anchors start, on drawn shapes: the embedded default, with a third of its steps.
from benchmarks.variants import initial_anchors

page = 'docs/studies.md'
about = 'Drawn shapes, 600 steps of 8 images, AP on 200 others.'
seeds = [0, 1, 2]
config = 'configs/shapes/dab_detr_shapes_5min.py'
runs = initial_anchors(config, 'model.query_generator', 0.4)
options = {'train_cfg.max_iters': 600, 'train_cfg.val_interval': 100, 'param_scheduler.1.end': 600}
