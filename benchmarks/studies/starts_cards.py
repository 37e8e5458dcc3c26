# What the small model starts from: playing cards.
# Numbers are those that `mmdet-dab new-data` writes.
from dataclasses import replace

from benchmarks.starts import CARDS, EQUAL_TIME, MINUTES, starts

page = 'docs/studies.md'
about = 'Photographs of playing cards at 176 × 192 pixels, 296 to train on, AP on 67 others.' + EQUAL_TIME
seeds = [0, 1, 2]
minutes = MINUTES
runs = starts(CARDS)
runs['ImageNet, 208 × 224 pixels'] = starts(replace(CARDS, scale=(208, 224)))['ImageNet']
