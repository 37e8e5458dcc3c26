# Parts that are said to pay on little data, on top of the start from ImageNet, in equal time.
from benchmarks.starts import CELLS, in_the_time_of, with_each_part

page = 'docs/studies.md'
pace, steps = 'plain', 300
about = 'Blood cells (BCCD) at 256 × 192 pixels, AP on the 87 images of val; ' + in_the_time_of(steps)
seeds = [0, 1, 2]
runs = with_each_part(CELLS)
