# Parts that are said to pay on little data, on top of the start from ImageNet, in equal time.
from benchmarks.starts import CARDS, in_the_time_of, with_each_part

page = 'docs/studies.md'
pace, steps = 'plain', 440
about = 'Photographs of playing cards at 176 × 192 pixels, AP on the 67 to test; ' + in_the_time_of(steps)
seeds = [0, 1, 2]
runs = with_each_part(CARDS)
