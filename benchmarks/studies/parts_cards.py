# Parts that are said to pay on little data, on top of the start from ImageNet, in equal time.
from benchmarks.starts import CARDS, with_each_part

page = 'docs/studies.md'
about = 'Photographs of playing cards at 176 × 192 pixels, AP on the 67 to test; '
about += 'the CPU time of 440 steps of the plain recipe, about 90 seconds.'
seeds = [0, 1, 2]
pace, steps = 'plain', 440
runs = with_each_part(CARDS)
