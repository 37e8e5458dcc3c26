# The same road on blood cells: the configs of configs/mix/road with the data of
# configs/custom/bccd_r18_c4_55e.py at a fifth of their size, so that nine configs and three seeds
# fit into an hour.
from benchmarks.variants import blood_cells, stations

page = 'docs/convergence.md'
about = 'Blood cells (BCCD) at 128 × 96 pixels, 600 steps of 8 images, AP on the 87 images of val.'
seeds = [0, 1, 2]
runs = stations((0.165, 0.21), num_queries=60)
options = blood_cells((128, 96), 600)
