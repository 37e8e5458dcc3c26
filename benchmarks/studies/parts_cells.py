# Parts that are said to pay on little data, on top of the start from ImageNet, in equal time.
from benchmarks.starts import CELLS, with_each_part

page = 'docs/studies.md'
about = 'Blood cells (BCCD) at 256 × 192 pixels, AP on the 87 images of val; '
about += 'the CPU time of 300 steps of the plain recipe, about 90 seconds.'
seeds = [0, 1, 2]
pace, steps = 'plain', 300
runs = with_each_part(CELLS)
