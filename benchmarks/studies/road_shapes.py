# The road from DETR to DAB-DETR and DN-DETR on drawn shapes: the configs of configs/mix/road.
from benchmarks.variants import stations

page = 'docs/convergence.md'
about = 'Drawn shapes, 2,000 steps of 8 images, AP on 200 others.'
seeds = [0, 1, 2]
runs = stations(0.4, num_queries=16)
options = {'train_cfg.val_interval': 400}
