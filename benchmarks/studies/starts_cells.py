# What the small model starts from: blood cells. Numbers are those that `mmdet-dab new-data` writes.
from benchmarks.starts import CELLS, EQUAL_TIME, MINUTES, starts

page = 'docs/studies.md'
about = 'Blood cells (BCCD) at 256 × 192 pixels, 205 images to train on, AP on the 87 of val.' + EQUAL_TIME
seeds = [0, 1, 2]
minutes = MINUTES
runs = starts(CELLS)
