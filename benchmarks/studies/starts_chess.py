# What the small model starts from: drawn chessmen in photographs, `python -m benchmarks.other_data
# chess --out data/chess`. Numbers are those that `mmdet-dab new-data` writes.
from benchmarks.starts import CHESS, EQUAL_TIME, MINUTES, starts

page = 'docs/studies.md'
about = 'Chessmen drawn into photographs of COCO, 320 × 272 pixels, 300 to train on, AP on 100 others.' + EQUAL_TIME
seeds = [0, 1, 2]
minutes = MINUTES
runs = starts(CHESS)
