# Parts that are said to pay on little data, on top of the start from ImageNet, in equal time.
from benchmarks.starts import CHESS, in_the_time_of, with_each_part

page = 'docs/studies.md'
pace, steps = 'plain', 240
about = 'Chessmen drawn into photographs of COCO, 320 × 272 pixels, AP on 100 others; ' + in_the_time_of(steps)
seeds = [0, 1, 2]
runs = with_each_part(CHESS)
