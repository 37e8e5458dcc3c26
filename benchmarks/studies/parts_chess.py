# Parts that are said to pay on little data, on top of the start from ImageNet, in equal time.
from benchmarks.starts import CHESS, with_each_part

page = 'docs/studies.md'
about = 'Chessmen drawn into photographs of COCO, 320 × 272 pixels, AP on 100 others; '
about += 'the CPU time of 240 steps of the plain recipe, about 90 seconds.'
seeds = [0, 1, 2]
pace, steps = 'plain', 240
runs = with_each_part(CHESS)
